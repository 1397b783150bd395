"""What to run next: each arm's search, then its confirmation on the report seeds. Pure: no torch, ray or optuna.

The plan is a function of the study and of what has finished, not of when it finished: suggestion i of an arm sees
only the trials of earlier groups of `search.parallel`, so that an interrupted study goes on to the same table.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from dks_study.ledger import Cell, Outcome, Record, search_id
from dks_study.spec import Setting
from dks_study.study_spec import StudySpec, default_setting

OBJECTIVE = "val/top1/main"  # percent; what a search maximises, at its last epoch


class Step(Enum):
    """What to do when there is no cell to start."""

    WAIT = "wait"
    DONE = "done"


@dataclass(frozen=True)
class Tried:
    """A settled or running search trial of an arm; value is None while it runs and where it failed."""

    setting: Setting
    value: float | None


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
        self._choices: dict[str, Setting | None] = {}
        self._fronts: dict[tuple[str, bool], int] = {}
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
        """Return the setting to confirm: of the best search trial, the earliest among equals.

        Without a search it is the arm as written. None: the search is not over, or no trial of it completed.
        """
        if not (trials := searched(self._study, arm)):
            return {}
        if arm not in self._choices and self._front(arm, self._outcomes) == trials:
            tried = [self._tried(arm, index) for index in range(trials)]
            complete = [trial for trial in tried if trial.value is not None]
            best = max(complete, key=lambda trial: trial.value or 0.0, default=None)
            self._choices[arm] = best.setting if best else None
        return self._choices.get(arm)

    def _next_search(self) -> Cell | None:
        fronts = {arm: self._front(arm, self._cells) for arm in self._study.arms}
        for arm, index in sorted(fronts.items(), key=lambda item: item[1]):  # stable: arms in their own order
            earlier_groups = index - index % self._study.search.parallel
            if index < searched(self._study, arm) and self._front(arm, self._outcomes) >= earlier_groups:
                return self._search_cell(arm, index, earlier_groups)
        return None

    def _search_cell(self, arm: str, index: int, earlier_groups: int) -> Cell:
        # A trial of the same group counts as running even if its result is known by now.
        tried = [self._tried(arm, i, hidden=i >= earlier_groups) for i in range(index)]
        known_point = default_setting(self._study, arm)
        setting = known_point if index == 0 else self._suggest(arm, index, tried)
        return Cell(arm, "search", index, self._study.search.seed, self._study.search.epochs, setting)

    def _next_confirmation(self) -> Cell | None:
        for position, seed in enumerate(self._study.report_seeds):  # seed by seed: a cut table is still paired
            for arm in self._study.arms:
                setting = self.choice(arm)
                if setting is not None:
                    cell = Cell(arm, "confirm", position, seed, self._study.trial.epochs, setting)
                    if cell.id not in self._cells:
                        return cell
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
        complete = outcome is not None and outcome.status == "complete"
        return Tried(self._cells[name].setting, outcome.metrics[OBJECTIVE] if outcome and complete else None)


def searched(study: StudySpec, arm: str) -> int:
    """Return the number of search trials of `arm`: the same in every arm that has an axis, none elsewhere."""
    return study.search.trials if study.axes_of(arm) else 0


def planned(study: StudySpec) -> Mapping[str, tuple[int, int]]:
    """Return, by arm, the numbers of search and of confirmation trials."""
    return {arm: (searched(study, arm), len(study.report_seeds)) for arm in study.arms}
