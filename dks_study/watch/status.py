"""What a study is doing, told from its files alone: from another terminal, or a machine that shares the folder."""

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dks_study.spec.base import Problem
from dks_study.spec.reaching import reached
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Setting
from dks_study.study.cell import Cell
from dks_study.study.choosing import Tried
from dks_study.study.holder import HOLDER, LOCK, holder_of
from dks_study.study.ledger import Record, read_epochs, read_ledger
from dks_study.study.planner import Planner, Search, Step
from dks_study.study.provenance import ProvenanceError, study_in
from dks_study.study.trial_names import cell_of
from dks_study.watch.estimate import earlier_pace
from dks_study.watch.kept import Kept, read_kept
from dks_study.watch.picture import WholeNumbers, arms_table, ending, summary
from dks_study.watch.progress import Tracker

_LOGGED = re.compile(r"(?P<when>\S+) (?:start after|epoch (?P<epoch>\d+):)")
_LEAST_LOGGED_S = 12.0


class StatusError(Problem, ValueError):
    """A folder does not hold a study; the message is one line."""


@dataclass(frozen=True)
class Running:
    """A trial that has begun and not ended."""

    cell: Cell
    epochs: int  # done
    written: float  # seconds since 1970


@dataclass(frozen=True)
class Starting:
    """A study of which nothing is known yet but who began it: Ray is being started, or that process has ended."""

    folder: Path
    holder: str
    alive: bool | None


@dataclass(frozen=True)
class Status:
    """What the files of a study say.

    Attributes:
        holder: who ran it last.
        alive: whether that process is; None if it is on another machine.
        written: when anything was written last, seconds since 1970.
        seconds_left: an estimate, while it runs.
    """

    folder: Path
    study: StudySpec
    tracker: Tracker
    running: Sequence[Running]
    complete: bool
    holder: str
    alive: bool | None
    written: float
    seconds_left: float | None
    checkpoint_bytes: int


def find_studies(path: Path, asked: str = "--status ") -> list[Path]:
    """Return `path` if it is a study's folder, else the studies' folders in it; `asked` begins an error's message.

    Raises:
        StatusError: if there are none.
        SpecError: if nobody may look there.
    """
    if _is_study(reached(path, asked)):
        return [path]
    studies = sorted(filter(_is_study, path.glob("*/")))
    if not studies:
        what = "holds no study (no provenance.json)" if path.is_dir() else "is not a folder"
        raise StatusError(f"{asked}{path}: {what}")
    return studies


def _is_study(folder: Path) -> bool:
    """Whether a study was begun in `folder`: the first that is there says who holds it, before Ray has started."""
    try:
        begun = (folder / "provenance.json").is_file() or (folder / HOLDER).is_file()
        return begun or (folder / LOCK).read_text(encoding="utf-8").startswith("process ")
    except (OSError, UnicodeDecodeError):  # no lock, or somebody else's folder
        return False


def read_status(folder: Path) -> Status | Starting | Kept:
    """Read the study in `folder`.

    Raises:
        StatusError: if its description cannot be read.
        KeptError: if its results alone are kept and are damaged.
        LedgerError: if its ledger is damaged.
        HolderError: if it is not told who runs it.
    """
    holder, alive = holder_of(folder)
    if not (folder / "provenance.json").exists():
        return Starting(folder, holder, alive)
    if kept := read_kept(folder):
        return kept
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        study = study_in(provenance, folder)
    except ProvenanceError as error:
        raise StatusError(str(error)) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged: put a copy back"
        raise StatusError(f"{folder}: provenance.json is not that of a study: {why}") from error
    records = list(read_ledger(folder / "ledger.jsonl", study))
    tracker = Tracker(study, earlier_pace(study, folder))
    for record in records:
        tracker.settle(record.cell, record.outcome)
    running = list(_running(folder, study, tracker.settled.keys()))
    for trial in running if alive is not False else ():
        for epoch, at_s in _epoch_times(folder / "trials" / trial.cell.id):
            tracker.epoch(trial.cell, epoch, at_s)
        tracker.start(trial.cell, trial.epochs)
    complete = _is_complete(study, records)
    files = [folder / "ledger.jsonl", folder / "provenance.json"]
    return Status(
        folder,
        study,
        tracker,
        running,
        complete,
        holder,
        alive and not complete,
        max(map(_changed, [*files, *folder.glob("trials/*/epochs.jsonl")])),
        None if complete or alive is False else tracker.seconds_left(),
        sum(file.stat().st_size for file in folder.glob("trials/*/*.pt")),
    )


def render(status: Status | Starting | Kept) -> RenderableType:
    """Return the status as tables and lines."""
    if not isinstance(status, Status):
        return Text(beginning(status))
    parts: list[RenderableType] = [
        Text(status.study.question),
        Text(who(status)),
        arms_table(status.tracker, status.tracker.planned),
    ]
    if status.running:
        running = Table(
            "began and did not end" if status.alive is False else "running",
            "epochs",
            "wrote last",
            box=None,
            pad_edge=False,
        )
        for trial in status.running:
            running.add_row(trial.cell.name, f"{trial.epochs}/{trial.cell.epochs}", _ago(trial.written))
        parts.append(WholeNumbers(running))
    for cell, outcome in status.tracker.settled.values():
        if outcome.lost:
            parts.append(Text(f"{cell.name}: {ending(outcome)}"))
    parts.append(Text(f"{summary(status.tracker, status.seconds_left)}; checkpoints {_size(status.checkpoint_bytes)}"))
    return Group(*parts)


def line(status: Status | Starting | Kept) -> str:
    """Return the status as one line, for a list of studies."""
    if not isinstance(status, Status):
        return f"{status.folder.name}: {beginning(status)}"
    return f"{status.folder.name}: {summary(status.tracker, status.seconds_left)}; {who(status)}"


def beginning(status: Starting | Kept) -> str:
    """Return whether a study is just being started, and by whom; or what is kept of one."""
    if isinstance(status, Kept):
        return status.in_words
    if status.alive is None:
        return f"starting, or ended before its first trial: held by {status.holder}, which cannot be seen from here"
    if status.alive:
        return f"starting: {status.holder}; no trial has begun"
    by = f" ({status.holder} has ended)" if status.holder else ""
    return f"ended before its first trial{by}; the command that began it begins it again"


def who(status: Status) -> str:
    """Return whether the study is complete, running or interrupted, and by whom."""
    wrote = f"wrote last {_ago(status.written)}"
    if status.complete:
        return f"complete, {wrote}"
    if status.alive is None:
        return f"held by {status.holder}, which cannot be seen from this machine; {wrote}"
    if status.alive:
        return f"running: {status.holder}; {wrote}"
    by = f" ({status.holder} has ended)" if status.holder else ""
    return f"not running{by}, {wrote}; the command that began it goes on"


def _running(folder: Path, study: StudySpec, settled: Iterable[str]) -> Iterator[Running]:
    for path in sorted(folder.glob("trials/*/trial.json")):
        try:
            trial = json.loads(path.read_text(encoding="utf-8"))
            cell = cell_of(path.parent.name, trial["seed"], trial["epochs"], study.report_seeds)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise StatusError(f"{path}: is damaged: the command that began the study writes it anew") from error
        if cell is None or cell.arm not in study.arms or cell.id in settled:
            continue
        epochs = sum(1 for _ in read_epochs(path.parent))
        yield Running(cell, epochs, max(map(_changed, [path, path.with_name("epochs.jsonl")])))


def _is_complete(study: StudySpec, records: Sequence[Record]) -> bool:
    def none(search: Search, index: int, tried: Sequence[Tried], widened: Sequence[str]) -> Setting:
        return {}  # whatever it is, it is one more trial to run

    return Planner(study, none, records).next() is Step.DONE


def _epoch_times(folder: Path) -> list[tuple[int, float]]:
    """Return the epochs of a running trial since it was started last, and when each ended, in seconds since 1970.

    Nothing while they tell of less than a dozen seconds: a log has whole ones.
    """
    path, times = folder / "log.txt", list[tuple[int, float]]()
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        if match := _LOGGED.match(text):
            when = datetime.fromisoformat(match["when"]).timestamp()
            if match["epoch"]:
                times.append((int(match["epoch"]), when))
            else:
                times.clear()
    return times if times and times[-1][1] - times[0][1] >= _LEAST_LOGGED_S else []


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _ago(then: float) -> str:
    seconds = max(0, round(time.time() - then))
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
