"""The page of a study beside its results, fresh while it runs and drawn by a process of its own.

Not by the driver: it hands out trials, and a thread of it that lives when Ray shuts down would end the study. Not by
Ray: it would take a place from a trial.
"""

import os
import subprocess
import sys
from pathlib import Path

from dks_study.study.cell import Cell
from dks_study.study.home import home_of
from dks_study.study.ledger import Outcome
from dks_study.watch.live.drawing import PAGE
from dks_study.watch.progress import Metrics

PATIENCE_S = 5.0  # with a drawing that is being written


class PageBeside:
    """Starts that process with the first trial, and ends it; should it fail, the study is told once and goes on."""

    name = PAGE

    def __init__(self, folder: Path, storage: str | None = None) -> None:
        """Draw the study in `folder`, whose trials write there, or into its home in `storage`."""
        self._folder, self._storage = folder, storage
        self._process: subprocess.Popen[str] | None = None

    def started(self, cell: Cell) -> None:
        """Begin with the first trial: before it there is nothing to see."""
        if self._process is None:
            self._process = self._begin()
        self._look()

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """See whether the page is still drawn."""
        self._look()

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """Nothing: the ledger tells it."""

    def end(self) -> None:
        """End the drawing for good: what is written to the page from now on stays."""
        if self._process is None:
            return
        try:
            self._process.communicate(timeout=PATIENCE_S)  # ends its input
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        (self._folder / f"{PAGE}.tmp").unlink(missing_ok=True)

    def _begin(self) -> "subprocess.Popen[str]":
        home = home_of(self._storage, self._folder.name).url if self._storage else ""
        paths = [str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]
        process = subprocess.Popen(
            [sys.executable, "-m", "dks_study.watch.live.drawing", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            process_group=0,  # Ctrl-C is the study's
        )
        if process.stdin:
            process.stdin.write(f"{home}\n")  # not among its words: a URL may hold keys, and words are seen
            process.stdin.flush()
        return process

    def _look(self) -> None:
        """Raise what the process said when it gave up."""
        if self._process and self._process.poll() is not None:
            said = self._process.communicate()[1].strip().splitlines() or ["its process has ended"]
            raise RuntimeError(f"is not drawn any more: {said[-1]}")
