"""What is known of a study while it runs, and who is told of it."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from dks_study.spec.objectives import ACCURACY
from dks_study.spec.search import LENGTH
from dks_study.spec.study import StudySpec
from dks_study.study.cell import Cell, Phase
from dks_study.study.choosing import confirmed, tried
from dks_study.study.deciding import errors_of, growth
from dks_study.study.ledger import Outcome, Status
from dks_study.study.planned import planned
from dks_study.study.planner import PHASES
from dks_study.watch.estimate import Estimate, Kind, Pace

Metrics = Mapping[str, float]


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

    Another thread may draw it at any time: its dicts are replaced and never changed, but for `settled`, which grows
    where it is (as many copies as trials would be made of it) and of which the drawing asks the length alone.
    """

    def __init__(self, study: StudySpec, earlier: Pace | None = None) -> None:
        """Start with nothing done; `earlier` is what other studies tell of the pace."""
        self.study, self._estimate = study, Estimate(earlier)
        self.planned = planned(study)
        self.settled: dict[str, tuple[Cell, Outcome]] = {}
        self.running: Mapping[str, tuple[Cell, int]] = {}  # id -> cell, epochs done
        self._tallies: Mapping[tuple[str, Phase], Tally] = {}
        several = len(study.search.objectives) > 1
        self.open_fronts = {arm for arm, plan in self.planned.items() if plan["search"] and several}
        if study.table.looks:
            self.open_fronts = set(study.arms)
        self.open_fronts |= set(study.table.one_at_a_time)  # as many confirmations as a search changed values
        self._failed = 0

    def start(self, cell: Cell, epochs_done: int = 0) -> None:
        """Count a trial as running."""
        self.running = {**self.running, cell.id: (cell, epochs_done)}
        self._estimate.started(len(self.running))

    def epoch(self, cell: Cell, epochs_done: int, at_s: float | None = None) -> None:
        """Count an epoch that was trained in this session, `at_s` seconds on some clock or just now."""
        self.running = {**self.running, cell.id: (cell, epochs_done)}
        self._estimate.epoch(cell, epochs_done, time.monotonic() if at_s is None else at_s)

    def settle(self, cell: Cell, outcome: Outcome) -> None:
        """Count a trial that has ended."""
        self.running = {name: value for name, value in self.running.items() if name != cell.id}
        self.settled[cell.id] = cell, outcome
        self._tallies = {**self._tallies, (cell.arm, cell.phase): self.tally(cell.arm, cell.phase).plus(outcome)}
        self._failed += outcome.lost
        self._estimate.settled(cell, outcome)
        if cell.phase == "confirm" and self.study.table.looks:
            self._grow()
        elif cell.choice == "both":
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
        if members and len(self.study.search.objectives) > 1:
            self._plan(arm, "confirm", (1 + len(members)) * len(self.study.report_seeds))
        elif not members:
            self._plan(arm, "confirm", 0)
            self._plan(arm, "race", 0)
        self.open_fronts = self.open_fronts - ({arm} - set(self.study.table.one_at_a_time))

    def _grow(self) -> None:
        """Plan the report seeds that each arm still takes, in a study that looks until its arms are decided."""
        total, found = len(self.study.report_seeds), growth(self.study, errors_of(self.settled.values()))
        for arm, seeds in found.seeds.items():
            rows = planned(self.study)[arm]["confirm"] // total
            once = sum(cell.arm == arm and cell.choice == "both" for cell, _ in self.settled.values())
            self._plan(arm, "confirm", rows * seeds - once)
            for phase in ("search", "race") if self.study.searches > 1 else ():
                each = planned(self.study)[arm][phase] // self.study.searches
                self._plan(arm, phase, each * -(-seeds // self.study.seeds_of_search))
            if seeds < total or found.over:
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

    def seconds_left(self) -> float | None:
        """Return how long the trials that are left take, or None if that is not known yet."""
        running = tuple(self.running.values())
        begun = Counter((cell.arm, cell.phase) for cell, _ in running)
        to_come: dict[Kind, float] = {}
        for arm, plan in self.planned.items():
            for phase in PHASES:
                rest = plan[phase] - self.done(arm, phase) - begun[arm, phase]
                to_come[arm, phase] = max(0, rest) * mean_epochs(self.study, arm, plan)[phase]
        going = [((cell.arm, cell.phase), max(0, cell.epochs - done)) for cell, done in running]
        return self._estimate.seconds_left(to_come, going)


def mean_epochs(study: StudySpec, arm: str, plan: Mapping[Phase, int]) -> Mapping[Phase, float]:
    """Return about how long a trial of each phase of `arm` is with this plan, in epochs.

    A length that is searched counts as the mean of its axis; half of a searched arm's confirmations are as written.
    """
    axis, full = study.search.axes.get(LENGTH), float(study.trial.epochs)
    tuned = axis.mean if axis and plan["search"] else full
    search = study.search.epochs or tuned
    times = study.matches[arm].times if arm in study.matches else 1.0
    return {"search": times * search, "race": times * search, "confirm": times * (full + tuned) / 2}
