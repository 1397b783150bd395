"""The studies that a server shows, read from their files anew, but never more often than is worth it."""

import time
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from urllib.parse import unquote, urlsplit

from dks_study.spec.base import Problem
from dks_study.watch.live.snapshot import Snapshot, snapshot
from dks_study.watch.status import find_studies

LEAST_AGE_S = 1.5  # of numbers, before they are read again: however many people look
MOST_OF_THE_TIME = 0.1  # that reading may take
_Stamp = tuple[int, int]


class Studies:
    """A study, or a folder of studies, on this machine or in a bucket; for many threads."""

    def __init__(self, place: str) -> None:
        """Read what is at `place`: a folder, or the URL of a bucket's folder.

        Raises:
            StatusError: if it holds no study.
            StorageError: if the URL cannot be opened.
            OSError: if the bucket cannot be reached.
        """
        self._place, self._lock = place, Lock()
        self._known: dict[str, tuple[Path, Snapshot, _Stamp]] = {}
        self._next_s = 0.0
        folders = self._read()
        self.alone = len(folders) == 1 and folders[0].name == Path(place.partition("?")[0]).resolve().name

    def now(self) -> Mapping[str, tuple[Path, Snapshot]]:
        """Return folder and snapshot of each study by its name; the last that are known if reading fails."""
        with self._lock:
            if time.monotonic() >= self._next_s:
                try:
                    self._read()
                except (OSError, Problem):  # the age of the numbers is on the page
                    self._next_s = time.monotonic() + LEAST_AGE_S
            return {name: (folder, known) for name, (folder, known, _) in self._known.items()}

    def _read(self) -> list[Path]:
        began = time.monotonic()
        folders = find_studies(folder_at(self._place), "")
        self._known = {folder.name: self._study(folder) for folder in folders}
        took = time.monotonic() - began
        self._next_s = time.monotonic() + max(LEAST_AGE_S, took / MOST_OF_THE_TIME)
        return folders

    def _study(self, folder: Path) -> tuple[Path, Snapshot, _Stamp]:
        stamp, known = _stamp(folder / "ledger.jsonl"), self._known.get(folder.name)
        if known and known[1].state == "complete" and known[2] == stamp:  # it does not change any more
            return known
        try:
            return folder, snapshot(folder), stamp
        except (OSError, ValueError, KeyError, Problem) as error:
            lines = str(error).splitlines() or [type(error).__name__]
            return folder, Snapshot(folder.name, "unreadable", lines[0], time.time()), stamp


def folder_at(place: str) -> Path:
    """Return the folder with what is at `place`: a folder or its URL, or that of a bucket's, which is copied first.

    Raises:
        StorageError: if a URL cannot be opened.
        OSError: if a bucket cannot be reached.
    """
    if "://" not in place:
        return Path(place).resolve()
    if place.startswith("file:"):
        return Path(unquote(urlsplit(place).path))
    from dks_study.study.pulling import pulled  # brings more along than all else here

    return pulled(place, "watch")


def _stamp(path: Path) -> _Stamp:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size
