"""Optuna's journal in a file, to which many operations can be written in one go: each waits for the disk otherwise."""

import json
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


class JournalFile(JournalFileBackend):
    """The file; while operations are held back, this process alone sees them."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._held: list[dict[str, Any]] | None = None
        self._written = 0  # operations in the file when the first one was held back

    def hold(self) -> None:
        """Hold back what is appended from now on."""
        self._written, self._held = sum(1 for _ in super().read_logs(0)), []

    def write(self) -> None:
        """Write what was held back, and hold nothing back from now on."""
        held, self._held = self._held, None
        if held:
            self.append_logs(held)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        if self._held is None:
            yield from super().read_logs(log_number_from)
            return
        if log_number_from < self._written:
            yield from islice(super().read_logs(log_number_from), self._written - log_number_from)
        yield from self._held[max(0, log_number_from - self._written) :]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._held is None:
            super().append_logs(logs)
        else:
            self._held += json.loads(json.dumps(logs))  # as they will be read from the file


class Journal(JournalStorage):
    """Optuna's storage in a journal file."""

    def __init__(self, path: Path) -> None:
        """Open the journal at `path`, or begin one."""
        self.file = JournalFile(path)
        super().__init__(self.file)
