"""All that a page shows of a study while it runs, from its files alone.

Nothing here compares arms on test images: such numbers are sealed until the confirmation is complete. Whoever sees a
table fill may stop it when it looks good, and then its p-values are too small and its effects too large.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

from dks_study.spec.looks import Look, looks
from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell, Phase
from dks_study.study.ledger import LOST, Outcome, read_epochs
from dks_study.study.planner import PHASES
from dks_study.watch.kept import Kept
from dks_study.watch.picture import ending
from dks_study.watch.progress import Tracker
from dks_study.watch.status import Starting, Status, beginning, read_status, who

State = Literal["starting", "running", "unseen", "stopped", "complete", "unreadable"]
CURVES, POINTS, SHOWN = 24, 200, 100  # curves of a page, points of a curve, lost trials that are named


@dataclass(frozen=True)
class Part:
    """How far a phase of an arm is, in trials."""

    phase: Phase
    planned: int
    complete: int
    stopped: int
    lost: int
    running: int


@dataclass(frozen=True)
class Arm:
    """An arm, how it looks, its phases, and the best validation top-1 (%) of its search."""

    name: str
    look: Look
    parts: tuple[Part, ...]
    best: float | None


@dataclass(frozen=True)
class Curve:
    """A trial by its epochs.

    Attributes:
        done: epochs.
        epochs: that it is to have.
        wrote: when it wrote last, in seconds since 1970; None: it has ended.
        errors: (epoch, error of `main` on validation images in percent), POINTS at most.
    """

    trial: str
    arm: str
    done: int
    epochs: int
    wrote: float | None
    errors: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Search:
    """One search of an arm: (number of the trial, what it aims at, the best so far), of trials that completed."""

    arm: str
    repeat: int
    trials: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment.

    Attributes:
        about: who runs it, and when it wrote last, until it is complete; or why it cannot be read.
        taken: when, in seconds since 1970.
        trials: that are planned; the most there can be if `at_most`.
        seconds_left: an estimate; None: not known, or it does not run.
        lost: (trial, how it was lost), the latest SHOWN.
        objective: what the searches lower.
        curves: of running trials, then of the latest that ended.
    """

    name: str
    state: State
    about: str
    taken: float
    question: str = ""
    trials: int = 0
    at_most: bool = False
    seconds_left: float | None = None
    checkpoint_bytes: int = 0
    arms: tuple[Arm, ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    objective: str = ""
    searches: tuple[Search, ...] = ()
    curves: tuple[Curve, ...] = ()


def snapshot(folder: Path) -> Snapshot:
    """Return what the files in `folder` say of its study.

    Raises:
        StatusError: if its description cannot be read.
        LedgerError: if its ledger is damaged.
    """
    status = read_status(folder)
    if isinstance(status, Kept):
        return Snapshot(folder.name, "complete", beginning(status), time.time())
    if isinstance(status, Starting):
        return Snapshot(folder.name, _state(status.alive, "starting"), beginning(status), time.time())
    tracker, objective = status.tracker, status.study.search.objectives[0]
    lost = [(cell.name, ending(outcome)) for cell, outcome in tracker.settled.values() if outcome.lost]
    return Snapshot(
        name=folder.name,
        state="complete" if status.complete else _state(status.alive, "running"),
        about="" if status.complete else who(status),  # when it wrote last would grow old with what is kept of it
        taken=time.time(),
        question=status.study.question,
        trials=tracker.trials,
        at_most=bool(tracker.open_fronts),
        seconds_left=status.seconds_left,
        checkpoint_bytes=status.checkpoint_bytes,
        arms=tuple(_arm(tracker, *each) for each in looks(status.study.arms).items()),
        lost=tuple(lost[-SHOWN:]),
        objective="validation error (%)" if objective == ACCURACY else objective,
        searches=tuple(_searches(tracker.settled, objective)),
        curves=tuple(_curves(status)),
    )


def _state(alive: bool | None, at_work: State) -> State:
    return "unseen" if alive is None else at_work if alive else "stopped"


def _arm(tracker: Tracker, arm: str, look: Look) -> Arm:
    plan = tracker.planned[arm]
    phases = [phase for phase in PHASES if plan[phase] or tracker.done(arm, phase)]
    return Arm(arm, look, tuple(_part(tracker, arm, phase) for phase in phases), tracker.best(arm))


def _part(tracker: Tracker, arm: str, phase: Phase) -> Part:
    ended = tracker.tally(arm, phase).states
    running = sum((cell.arm, cell.phase) == (arm, phase) for cell, _ in tracker.running.values())
    lost = sum(ended.get(status, 0) for status in LOST)
    return Part(phase, tracker.planned[arm][phase], ended.get("complete", 0), ended.get("stopped", 0), lost, running)


def _searches(settled: Mapping[str, tuple[Cell, Outcome]], objective: str) -> Iterator[Search]:
    found: dict[tuple[str, int], dict[int, float]] = {}
    for cell, outcome in settled.values():
        value = outcome.metrics.get(objective)
        if cell.phase == "search" and outcome.status == "complete" and value is not None and math.isfinite(value):
            lower = 100 - value if objective == ACCURACY else value
            found.setdefault((cell.arm, cell.repeat), {})[cell.index] = lower
    for (arm, repeat), values in sorted(found.items()):
        indices = sorted(values)
        best = accumulate((values[index] for index in indices), min)
        yield Search(arm, repeat, tuple((index, values[index], low) for index, low in zip(indices, best, strict=True)))


def _curves(status: Status) -> Iterator[Curve]:
    """Yield the curves of trials that run, or did when the study stopped, then of the latest that ended."""
    running = status.running[:CURVES]
    for trial in running:
        errors = _errors(status.folder / "trials" / trial.cell.id)
        yield Curve(trial.cell.name, trial.cell.arm, trial.epochs, trial.cell.epochs, trial.written, errors)
    cells = [cell for cell, _ in status.tracker.settled.values()]
    for cell in cells[len(cells) - min(len(cells), CURVES - len(running)) :][::-1]:
        if errors := _errors(status.folder / "trials" / cell.id):
            yield Curve(cell.name, cell.arm, errors[-1][0], cell.epochs, None, errors)


def _errors(trial: Path) -> tuple[tuple[int, float], ...]:
    rows = [(int(row["epoch"]), 100 - row[ACCURACY]) for row in read_epochs(trial) if ACCURACY in row]
    finite = [row for row in rows if math.isfinite(row[1])]
    step = math.ceil(len(finite) / POINTS) or 1
    return tuple(finite[::-1][::step][::-1])  # the last epoch is always there
