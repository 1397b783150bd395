"""What to run next: each arm's search, then its confirmation on the report seeds. Pure: no torch, ray or optuna.

The plan is a function of the study and of what has finished, not of when it finished: suggestion i of an arm sees
only the trials of earlier groups of `search.parallel`, so that an interrupted study goes on to the same table.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import count, islice
from statistics import fmean
from typing import Protocol

from dks_study.spec.objectives import front, gains, spread
from dks_study.spec.space import ArmSpace, arm_space, sampler_of, searched
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Scalar, Setting
from dks_study.study.ledger import Cell, Outcome, Record, search_id
from dks_study.study.stopping import Watch, watch


class Step(Enum):
    """What to do when there is no cell to start."""

    WAIT = "wait"
    DONE = "done"


@dataclass(frozen=True)
class Tried:
    """A settled or running search trial of an arm; value is None while it runs and where it failed or was stopped.

    Attributes:
        more: the values of objectives after the first.
        steps: the objective after epochs 1, 2, ... of a trial that was stopped early.
    """

    setting: Setting
    value: float | None
    more: tuple[float, ...] = ()
    steps: tuple[float, ...] = ()

    @property
    def values(self) -> tuple[float, ...] | None:
        """All objectives, or None."""
        return None if self.value is None else (self.value, *self.more)


class Suggest(Protocol):
    """A sampler: the next setting of an arm, as a function of what it has tried."""

    def __call__(self, arm: str, index: int, tried: Sequence[Tried]) -> Setting:
        """Return values for every axis of `arm`."""


class Planner:
    """Hands out cells and takes their outcomes, until every arm is searched and confirmed."""

    def __init__(self, study: StudySpec, suggest: Suggest, records: Iterable[Record] = ()) -> None:
        """Go on from `records` (the ledger)."""
        self._study, self._suggest = study, suggest
        self._cells: dict[str, Cell] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._members: dict[str, tuple[Setting, ...]] = {}
        self._spaces = {arm: arm_space(study, arm) for arm in study.arms}
        self._searches = {arm: searched(study, arm) for arm in study.arms}
        self._grids = {arm: _grid(study, space) for arm, space in self._spaces.items()}
        self._fronts: dict[tuple[str, bool], int] = {}
        self._seeds_begun = 0  # so many of the first report seeds have all their trials
        for record in records:
            self._cells[record.cell.id] = record.cell
            self._outcomes[record.cell.id] = record.outcome

    def next(self) -> Cell | Step:
        """Return a cell to start now (it counts as running from here on), WAIT, or DONE."""
        cell = self._next_search() or self._next_confirmation()
        if cell is None:
            return Step.WAIT if self.running else Step.DONE
        self._cells[cell.id] = cell
        return cell

    def settle(self, cell_id: str, outcome: Outcome) -> None:
        """Take the outcome of a cell that `next` handed out."""
        if cell_id not in self._cells or cell_id in self._outcomes:
            raise ValueError(f"only a running trial can be settled, got {cell_id!r}")
        self._outcomes[cell_id] = outcome

    @property
    def running(self) -> tuple[Cell, ...]:
        """The cells that were handed out and not settled."""
        return tuple(self._cells[name] for name in self._cells.keys() - self._outcomes.keys())

    def choice(self, arm: str) -> Setting | None:
        """Return the setting to confirm: the best in the search, the earliest among equals.

        A setting that was tried with several seeds counts with its mean. With several objectives it is the first
        member of the Pareto front. Without a search it is the arm as written. None: the search is not over, or no
        trial of it completed.
        """
        return next(iter(self.members(arm)), None)

    def members(self, arm: str) -> tuple[Setting, ...]:
        """Return the settings to confirm: one, or with several objectives the arm's Pareto front, spread out."""
        if not (trials := self._searches[arm]):
            return ({},)
        if arm not in self._members and self._front(arm, self._outcomes) == trials:
            self._members[arm] = confirmed(self._study, [self._tried(arm, index) for index in range(trials)])
        return self._members.get(arm, ())

    def watch(self, cell: Cell) -> Watch | None:
        """Return what a search trial keeps of every epoch and where it stops; a confirmation is never stopped."""
        search = self._study.search
        if cell.phase == "confirm":
            return None
        costs = any(name.startswith("cost/") for name in search.objectives)
        if not search.objectives[0].startswith("val/"):
            return Watch(None, costs=costs)
        earlier = {i: self._outcomes.get(search_id(cell.arm, i)) for i in range(self._earlier(cell.index))}
        others = {i: outcome.steps for i, outcome in earlier.items() if outcome and not outcome.lost}
        told = watch(search.early_stopping, search.objectives[0], search.epochs, cell.index, others)
        return replace(told, costs=costs)

    def _earlier(self, index: int) -> int:
        """Return how many trials of an arm are in groups before that of trial `index`."""
        return index - index % self._study.search.parallel

    def _next_search(self) -> Cell | None:
        fronts = {arm: self._front(arm, self._cells) for arm in self._study.arms}
        for arm, index in sorted(fronts.items(), key=lambda item: item[1]):  # stable: arms in their own order
            if index < self._searches[arm] and self._front(arm, self._outcomes) >= self._earlier(index):
                return self._search_cell(arm, index)
        return None

    def _search_cell(self, arm: str, index: int) -> Cell:
        # A trial of the same group counts as running even if its result is known by now.
        tried = [self._tried(arm, i, hidden=i >= self._earlier(index)) for i in range(index)]
        setting = self._setting(arm, index, tried)
        repeats = sum(trial.setting == setting for trial in tried)
        return Cell(arm, "search", index, search_seed(self._study, repeats), self._study.search.epochs, setting)

    def _setting(self, arm: str, index: int, tried: Sequence[Tried]) -> Setting:
        queue = self._spaces[arm].queue(self._study.search.points)
        if index < len(queue):
            return queue[index]
        if not (grid := self._grids[arm]):
            return self._suggest(arm, index, tried)
        order = [*queue, *(cell for cell in grid if cell not in queue)]
        return order[index % len(order)]

    def _next_confirmation(self) -> Cell | None:
        seeds = enumerate(self._study.report_seeds)  # seed by seed: a cut table is still paired
        for position, seed in islice(seeds, self._seeds_begun, None):
            for arm in self._study.arms:
                members = self.members(arm)
                for number, setting in enumerate(members, start=1):
                    member = number if len(members) > 1 else 0
                    cell = Cell(arm, "confirm", position, seed, self._study.trial.epochs, setting, member)
                    if cell.id not in self._cells:
                        return cell
            if all(self._front(arm, self._outcomes) == trials for arm, trials in self._searches.items()):
                self._seeds_begun = position + 1  # nothing more will come with this seed
        return None

    def _front(self, arm: str, known: Collection[str]) -> int:
        """Return the first search index of `arm` that is not in `known`."""
        index = self._fronts.get((arm, known is self._cells), 0)
        while search_id(arm, index) in known:
            index += 1
        self._fronts[arm, known is self._cells] = index
        return index

    def _tried(self, arm: str, index: int, hidden: bool = False) -> Tried:
        name = search_id(arm, index)
        outcome = None if hidden else self._outcomes.get(name)
        return tried(self._study, self._cells[name].setting, outcome)


def tried(study: StudySpec, setting: Setting, outcome: Outcome | None) -> Tried:
    """Return what a search learns from a trial of `setting` that ended with `outcome`, or has not ended."""
    if outcome and outcome.status == "complete":
        first, *more = (outcome.metrics[objective] for objective in study.search.objectives)
        return Tried(setting, first, tuple(more))
    return Tried(setting, None, steps=tuple(outcome.steps) if outcome and outcome.status == "stopped" else ())


def confirmed(study: StudySpec, search: Sequence[Tried]) -> tuple[Setting, ...]:
    """Return the settings that an arm confirms after all trials of its `search`."""
    means = _means(search)
    found = front([gains(study.search.objectives, values) for _, values in means])
    return tuple(means[i][0] for i in spread(found, study.search.confirm_at_most))


def search_seed(study: StudySpec, repeats: int) -> int:
    """Return the seed of a search trial whose setting was tried `repeats` times before; never a report seed."""
    seeds = (seed % 2**31 for seed in count(study.search.seed) if seed % 2**31 not in study.report_seeds)
    return next(islice(seeds, repeats, None))


def planned(study: StudySpec) -> Mapping[str, tuple[int, int]]:
    """Return, by arm, the numbers of search and of confirmation trials (at most so many with several objectives)."""
    several = len(study.search.objectives) > 1
    confirmed = len(study.report_seeds) * (study.search.confirm_at_most if several else 1)
    searches = {arm: searched(study, arm) for arm in study.arms}
    return {arm: (trials, confirmed if trials else len(study.report_seeds)) for arm, trials in searches.items()}


def planned_trials(study: StudySpec) -> int:
    """Return how many trials there are, at most so many with several objectives."""
    return sum(map(sum, planned(study).values()))


def _grid(study: StudySpec, space: ArmSpace) -> list[dict[str, Scalar]]:
    """Return the cells of an arm that is enumerated, else nothing."""
    return space.cells() if space.axes and sampler_of(study, space) == "grid" else []


def _means(tried: Sequence[Tried]) -> list[tuple[Setting, tuple[float, ...]]]:
    """Return every setting that completed with the mean of its objectives over the seeds it was tried with."""
    by_setting: list[tuple[Setting, list[tuple[float, ...]]]] = []
    for trial in tried:
        if trial.values is not None:
            known = next((values for setting, values in by_setting if setting == trial.setting), None)
            if known is None:
                by_setting.append((trial.setting, [trial.values]))
            else:
                known.append(trial.values)
    return [(setting, tuple(map(fmean, zip(*values, strict=True)))) for setting, values in by_setting]
