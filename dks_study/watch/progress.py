"""What a study shows while it runs: a live table on a terminal, one line per event elsewhere."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dks_study.spec.objectives import ACCURACY
from dks_study.spec.search import LENGTH
from dks_study.spec.study import StudySpec
from dks_study.study.choosing import confirmed, tried
from dks_study.study.ledger import Cell, Outcome, Phase, Status
from dks_study.study.planner import planned

Metrics = Mapping[str, float]
LEAST_EPOCHS = 5  # before a speed is worth an estimate


class Observer(Protocol):
    """Told of every event of a study."""

    def started(self, cell: Cell) -> None:
        """`cell` begins to train."""

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """`cell` has finished an epoch."""

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """`cell` has ended, in an earlier session or now."""


class Display(Observer, Protocol):
    """What people see of it; used as a context manager around a study."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""

    def note(self, text: str) -> None:
        """Show one line for good."""


@dataclass(frozen=True)
class Tally:
    """What is known of the ended trials of an arm and phase together, so that nobody has to go through them again.

    Attributes:
        states: how many ended in which way.
        best: the best validation top-1 of those that completed, in percent.
    """

    states: Mapping[Status, int] = field(default_factory=dict)
    best: float | None = None

    def plus(self, outcome: Outcome) -> "Tally":
        """Return the tally with one more trial."""
        states = {**self.states, outcome.status: self.states.get(outcome.status, 0) + 1}
        if outcome.status != "complete":
            return Tally(states, self.best)
        value = outcome.metrics[ACCURACY]
        return Tally(states, value if self.best is None else max(self.best, value))

    @property
    def ended(self) -> int:
        """Number of trials."""
        return sum(self.states.values())


class Tracker:
    """Counts of a study, by arm and phase, and how long the rest will take.

    Its dicts are replaced and never changed, so that another thread may draw them at any time.
    """

    def __init__(self, study: StudySpec) -> None:
        """Start with nothing done."""
        self.study = study
        self.planned = planned(study)
        self.settled: Mapping[str, tuple[Cell, Outcome]] = {}
        self.running: Mapping[str, tuple[Cell, int]] = {}  # id -> cell, epochs done
        self._tallies: Mapping[tuple[str, Phase], Tally] = {}
        several = len(study.search.objectives) > 1
        self.open_fronts = {arm for arm, plan in self.planned.items() if plan["search"] and several}
        self._failed, self._epochs_settled = 0, 0
        self._epochs_now, self._started = 0.0, time.monotonic()

    def start(self, cell: Cell, epochs_done: int = 0) -> None:
        """Count a trial as running."""
        self.running = {**self.running, cell.id: (cell, epochs_done)}

    def epoch(self, cell: Cell, epochs_done: int) -> None:
        """Count an epoch that was trained in this session."""
        self.running = {**self.running, cell.id: (cell, epochs_done)}
        self._epochs_now += 1

    def settle(self, cell: Cell, outcome: Outcome) -> None:
        """Count a trial that has ended."""
        self.running = {name: value for name, value in self.running.items() if name != cell.id}
        self.settled = {**self.settled, cell.id: (cell, outcome)}
        self._tallies = {**self._tallies, (cell.arm, cell.phase): self.tally(cell.arm, cell.phase).plus(outcome)}
        self._failed += outcome.lost
        self._epochs_settled += cell.epochs
        if cell.choice == "both":
            self._plan(cell.arm, "confirm", self.planned[cell.arm]["confirm"] - 1)
        if cell.phase == "search" and self.done(cell.arm, "search") == self.planned[cell.arm]["search"]:
            self._end_search(cell.arm)

    def _plan(self, arm: str, phase: Phase, trials: int) -> None:
        self.planned = {**self.planned, arm: {**self.planned[arm], phase: trials}}

    def _end_search(self, arm: str) -> None:
        """Plan as many confirmations as the arm's search asks for: a front, or none if no trial of it completed."""
        ended = [
            (cell, outcome) for cell, outcome in self.settled.values() if (cell.arm, cell.phase) == (arm, "search")
        ]
        search = [tried(self.study, cell, outcome) for cell, outcome in sorted(ended, key=lambda e: e[0].index)]
        members = confirmed(self.study, search)
        several = len(self.study.search.objectives) > 1
        rows = 0 if not members else 1 + (len(members) if several else 1)
        self._plan(arm, "confirm", rows * len(self.study.report_seeds))
        if not members:
            self._plan(arm, "race", 0)
        self.open_fronts = self.open_fronts - {arm}

    def tally(self, arm: str, phase: Phase) -> Tally:
        """Return what is known of the ended trials of an arm and phase."""
        return self._tallies.get((arm, phase), Tally())

    def done(self, arm: str, phase: Phase) -> int:
        """Return the number of ended trials of an arm and phase."""
        return self.tally(arm, phase).ended

    def failed(self) -> int:
        """Return the number of trials that ended without a result."""
        return self._failed

    def best(self, arm: str) -> float | None:
        """Return the best validation top-1 of the arm's search, in percent."""
        return self.tally(arm, "search").best

    @property
    def trials(self) -> int:
        """Number of planned trials; the most there can be while `open_fronts` names an arm."""
        return sum(sum(plan.values()) for plan in self.planned.values())

    def epochs_left(self) -> float:
        """Return about how many of the planned epochs are still to train."""
        total = sum(epochs_of(self.study, plan) for plan in self.planned.values())
        done = self._epochs_settled + sum(n for _, n in self.running.values())
        return max(0.0, total - done)

    def seconds_left(self) -> float | None:
        """Return an estimate from the epochs per second of this session, once there are some."""
        if self._epochs_now < LEAST_EPOCHS:
            return None
        return self.epochs_left() * (time.monotonic() - self._started) / self._epochs_now


def epochs_of(study: StudySpec, plan: Mapping[Phase, int]) -> float:
    """Return about how many epochs the trials `plan` of an arm train; a length that is searched counts as its mean."""
    axis, full = study.search.axes.get(LENGTH), study.trial.epochs
    if not plan["search"]:
        return plan["confirm"] * full
    tuned = axis.mean if axis else full
    searched = axis.mean if axis else study.search.epochs or full
    written = len(study.report_seeds)
    return (plan["search"] + plan["race"]) * searched + written * full + (plan["confirm"] - written) * tuned


class PlainDisplay:
    """One line per event, for logs and pipes."""

    def __init__(self, tracker: Tracker) -> None:
        """Show what `tracker` counts."""
        self._tracker = tracker

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to stop."""

    def note(self, text: str) -> None:
        """Print one line."""
        print(text, flush=True)

    def started(self, cell: Cell) -> None:
        """Say nothing: an event is a trial that ends."""
        self._tracker.start(cell)

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """Count, say nothing."""
        self._tracker.epoch(cell, int(metrics["epoch"]))

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """Print how the trial ended."""
        self._tracker.settle(cell, outcome)
        if not earlier:
            done, trials = len(self._tracker.settled), self._tracker.trials
            most = "at most " if self._tracker.open_fronts else ""
            rest = left(self._tracker.seconds_left())
            self.note(f"[{done:>{len(str(trials))}}/{most}{trials}] {cell.id}: {ending(outcome)}{rest}")


class LiveDisplay(PlainDisplay):
    """A table that is redrawn in place."""

    def __init__(self, tracker: Tracker, console: Console) -> None:
        """Draw on `console`."""
        super().__init__(tracker)
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4)

    def __enter__(self) -> Self:
        """Start drawing."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture on the terminal."""
        self._live.stop()

    def note(self, text: str) -> None:
        """Print one line above the table."""
        self._live.console.print(Text(text), soft_wrap=True)

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """Count the trial; only a failure is worth a line that stays."""
        self._tracker.settle(cell, outcome)
        if outcome.lost and not earlier:
            self.note(f"{cell.id}: {ending(outcome)}")

    def _draw(self) -> Group:
        tracker = self._tracker
        return Group(arms_table(tracker), Text(summary(tracker, tracker.seconds_left())))


def arms_table(tracker: Tracker) -> Table:
    """Return a row for each arm: what is done of what is planned, the best so far, what is running."""
    raced = any(plan["race"] for plan in tracker.planned.values())
    race = ("race",) if raced else ()
    table = Table("arm", "search", *race, "best val top-1 (%)", "confirmation", "running")
    for arm, plan in tracker.planned.items():
        best = tracker.best(arm)
        running = [
            f"{cell.id.removeprefix(arm + '-')} {done}/{cell.epochs}"
            for cell, done in tracker.running.values()
            if cell.arm == arm
        ]
        table.add_row(
            arm,
            f"{tracker.done(arm, 'search')}/{plan['search']}",
            *(f"{tracker.done(arm, 'race')}/{plan['race']}" for _ in race),
            "" if best is None else f"{best:.1f}",
            f"{tracker.done(arm, 'confirm')}/{'at most ' if arm in tracker.open_fronts else ''}{plan['confirm']}",
            ", ".join(running),
        )
    return table


def summary(tracker: Tracker, seconds: float | None) -> str:
    """Return one line about the whole study, which takes `seconds` more if that is known."""
    failed = f", {tracker.failed()} without a result" if tracker.failed() else ""
    most = "at most " if tracker.open_fronts else ""
    return f"{len(tracker.settled)} of {most}{tracker.trials} trials{failed}{left(seconds)}"


def ending(outcome: Outcome) -> str:
    """Return a few words on how a trial ended."""
    if outcome.status != "complete":
        return f"{outcome.status}: {outcome.error}"
    shown = f"val top-1 {outcome.metrics[ACCURACY]:.2f} %"
    test = outcome.metrics.get("test/top1/main")
    return shown if test is None else f"{shown}, test top-1 {test:.2f} %"


def left(seconds: float | None) -> str:
    """Return what is left of a study, in words, if it is known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f", about {minutes} min {rest:02d} s left"


def make_display(study: StudySpec, console: Console) -> Display:
    """Return a live table on a terminal, plain lines elsewhere."""
    tracker = Tracker(study)
    return LiveDisplay(tracker, console) if console.is_terminal else PlainDisplay(tracker)
