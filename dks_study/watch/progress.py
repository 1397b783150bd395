"""What is known of a study while it runs, and who is told of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from dks_study.spec.objectives import ACCURACY
from dks_study.spec.study import StudySpec
from dks_study.study.ledger import Cell, Outcome, Phase, Status
from dks_study.study.planner import confirmed, planned, tried

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
        self.open_fronts = {arm for arm, (searches, _) in self.planned.items() if searches and several}
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
        if cell.phase == "search" and self.done(cell.arm, "search") == self.planned[cell.arm][0]:
            self._end_search(cell.arm)

    def _end_search(self, arm: str) -> None:
        """Plan as many confirmations as the arm's search asks for: a front, or none if no trial of it completed."""
        ended = [
            (cell, outcome) for cell, outcome in self.settled.values() if (cell.arm, cell.phase) == (arm, "search")
        ]
        search = [tried(self.study, cell.setting, outcome) for cell, outcome in sorted(ended, key=lambda e: e[0].index)]
        seeds = len(self.study.report_seeds) * len(confirmed(self.study, search))
        self.planned = {**self.planned, arm: (self.planned[arm][0], seeds)}
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
        return sum(search + seeds for search, seeds in self.planned.values())

    def epochs_left(self) -> int:
        """Return how many of the planned epochs are still to train."""
        search, full = self.study.search.epochs, self.study.trial.epochs
        total = sum(trials * search + seeds * full for trials, seeds in self.planned.values())
        done = self._epochs_settled + sum(n for _, n in self.running.values())
        return max(0, total - done)

    def seconds_left(self) -> float | None:
        """Return an estimate from the epochs per second of this session, once there are some."""
        if self._epochs_now < LEAST_EPOCHS:
            return None
        return self.epochs_left() * (time.monotonic() - self._started) / self._epochs_now
