"""Where the files of a study are: in its results folder, or in a home that is kept up to date: a folder or a bucket.

Without a home every node writes into the results folder, which all of them see. With one (`--storage`), each process
trains in a scratch folder of its own node and copies files to the home after every epoch, and the driver keeps its
results folder and the home alike: the ledger as soon as it grows. The home alone is enough to go on from.
"""

import json
import os
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dks_study.spec.urls import shown
from dks_study.study.holder import BEAT_S, HOLDER, LOCK, identity, is_alive, named
from dks_study.study.home import Home, StorageError
from dks_study.study.ledger import ERROR, OUTCOME, Outcome, outcome_text, write_outcome

CHECKPOINTS = ("last.pt", "best.pt", "last.tmp", "best.tmp")
_OWNER, SCRATCH = "owner", ".tune"


@dataclass(frozen=True)
class Place:
    """Where one trial is trained: in `folder`, or in a scratch folder that is copied to `home`.

    Attributes:
        folder: of the trial, in the results folder.
        scratch: where Ray Train may write.
        home: of the trial.
    """

    folder: str
    scratch: str
    home: Home | None

    def has(self, name: str) -> bool:
        """Is there a file of that name?"""
        return name in self.home.sizes() if self.home else (Path(self.folder) / name).exists()

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        if self.home:
            self.home.delete(name)
        else:
            (Path(self.folder) / name).unlink(missing_ok=True)

    def end(self, outcome: Outcome) -> None:
        """Say how the trial ended."""
        if self.home:
            self.home.write(OUTCOME, outcome_text(outcome).encode())
        else:
            write_outcome(Path(self.folder), outcome)

    def clear(self) -> None:
        """Delete all files."""
        if self.home:
            self.home.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def opened(self, *, writer: bool) -> Iterator[tuple[Path, Callable[[], None]]]:
        """Give out the folder, and what makes its files safe: to be called after every epoch.

        Args:
            writer: whether this process (rank 0) writes the trial's files; others can only say what went wrong.
        """
        if self.home is None:
            yield Path(self.folder), lambda: None
            return
        scratch = Path(tempfile.mkdtemp(prefix="dks_study-"))
        copy = _Copy(self.home, scratch, writer=writer)
        try:
            yield scratch, copy.push
        finally:
            try:
                copy.push()
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


class _Copy:
    """A scratch folder and its home."""

    def __init__(self, home: Home, scratch: Path, *, writer: bool) -> None:
        self._home, self._scratch, self._writer = home, scratch, writer
        self._token = uuid.uuid4().hex.encode()
        home.pull(scratch, without=(ERROR, _OWNER))
        self._pushed = self._stamps()
        if writer:
            home.write(_OWNER, self._token)

    def push(self) -> None:
        """Copy what has changed since, the outcome last.

        Raises:
            RuntimeError: if another process has taken this trial over: a worker that outlived a killed study.
        """
        stamps = self._stamps()
        changed = [name for name, stamp in stamps.items() if self._pushed.get(name) != stamp]
        if self._writer and self._home.read(_OWNER) != self._token:
            raise RuntimeError("another process trains this trial by now")
        for name in sorted(changed, key=lambda name: name == OUTCOME):
            self._home.push(self._scratch, name)
        self._pushed |= {name: stamps[name] for name in changed}

    def _stamps(self) -> dict[str, tuple[int, int, int]]:
        files = {
            path.relative_to(self._scratch).as_posix(): path.stat()
            for path in self._scratch.rglob("*")
            if path.is_file() and path.name != LOCK and path.suffix != ".tmp"
        }
        return {
            name: (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            for name, stat in files.items()
            if self._writer or name == ERROR
        }


class Files:
    """The driver's view of a study's files: its results folder, and the home if there is one."""

    def __init__(self, folder: Path, home: Home | None) -> None:
        """Mind `folder` and `home`."""
        self.folder, self.home, self._trials = folder, home, folder / "trials"

    def trial(self, trial: str) -> Path:
        """Return the results folder of a trial."""
        return self._trials / trial

    def place(self, trial: str) -> Place:
        """Return where a trial is to be trained."""
        scratch = self.home.within(SCRATCH).url if self.home else str(self.scratch.resolve())
        return Place(str(self.trial(trial).resolve()), scratch, self._of(trial))

    @property
    def scratch(self) -> Path:
        """Where Ray Tune may write."""
        return self.folder / SCRATCH

    def clear_scratch(self) -> None:
        """Delete what Ray has written, in this session or in one that was killed."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        if self.home:
            self.home.within(SCRATCH).clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the home, so that two commands on different machines never write one study.

        Raises:
            StorageError: says who holds it.
        """
        if self.home is None:
            yield
            return
        home = self.home
        mine = {"process": os.getpid(), "host": socket.gethostname(), "identity": identity(os.getpid())}
        other = json.loads(home.read(HOLDER) or b"{}")
        if other and is_alive(other):
            raise StorageError(f"--storage {shown(home.url)}: this study is being run by {named(other)}")
        over = threading.Event()

        def beat() -> None:
            home.write(HOLDER, json.dumps({**mine, "beat": time.time()}).encode())

        def beat_on() -> None:
            while not over.wait(BEAT_S):
                with suppress(OSError):  # the next one may come through
                    beat()

        beat()
        thread = threading.Thread(target=beat_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with suppress(OSError):
                home.delete(HOLDER)

    def restore(self) -> None:
        """Bring the results folder to the state of the home.

        Raises:
            StorageError: if both have trials that the other has not.
        """
        if self.home is None:
            return
        ledger = self.folder / "ledger.jsonl"
        here, there = ledger.read_bytes() if ledger.exists() else b"", self.home.read("ledger.jsonl") or b""
        if not here.startswith(there) and not there.startswith(here):
            rule = "must hold the trials of the results folder, or be held by it"
            raise StorageError(f"--storage {shown(self.home.url)}: {rule}; {self.folder} has gone its own way")
        if len(there) > len(here):
            self.home.pull(self.folder, without=(*CHECKPOINTS, _OWNER, HOLDER))
        elif len(here) > len(there):
            self.save("ledger.jsonl")

    def fetch(self, trial: str, *, without: tuple[str, ...] = CHECKPOINTS) -> None:
        """Bring what a trial has left at home into the results folder."""
        if home := self._of(trial):
            home.pull(self.trial(trial), without=(*without, _OWNER))

    def save(self, name: str) -> None:
        """Copy a file of the results folder home."""
        if self.home:
            self.home.push(self.folder, name)

    def save_results(self) -> None:
        """Copy everything home that is not a trial's."""
        for path in self.folder.rglob("*") if self.home else ():
            name = path.relative_to(self.folder)
            if path.is_file() and name.parts[0] not in ("trials", LOCK, SCRATCH):
                self.save(name.as_posix())

    def start_anew(self, trial: str, remembered: str) -> None:
        """Forget at home what a trial has done, but for the file `remembered` in its results folder."""
        if home := self._of(trial):
            home.clear()
            home.push(self.trial(trial), remembered)

    def take_over(self, folder: Path, trial: str) -> None:
        """Let `folder`, a scratch folder, be that of a trial that is nowhere yet; its outcome comes last."""
        if home := self._of(trial):
            home.clear()
            for name in sorted((path.name for path in folder.iterdir()), key=lambda name: name == OUTCOME):
                home.push(folder, name)
        target = self.trial(trial)
        try:
            folder.rename(target)
        except FileNotFoundError:  # the study's first trial
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)

    def drop_checkpoints(self, trial: str) -> None:
        """Delete the checkpoints of a trial."""
        folder, home = str(self.trial(trial)), self._of(trial)
        for name in CHECKPOINTS:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))
            if home:
                home.delete(name)

    def checkpoint_bytes(self, trial: str) -> int:
        """Return how much the checkpoints of a trial take."""
        if home := self._of(trial):
            return sum(size for name, size in home.sizes().items() if name in CHECKPOINTS)
        paths = [self.trial(trial) / name for name in CHECKPOINTS]
        return sum(path.stat().st_size for path in paths if path.exists())

    def free_bytes(self) -> int | None:
        """Return how much room there is where checkpoints are written; None: a home does not say."""
        return None if self.home else shutil.disk_usage(self.folder).free

    def _of(self, trial: str) -> Home | None:
        return self.home.within(f"trials/{trial}") if self.home else None
