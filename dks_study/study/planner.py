"""What to run next: each arm's searches, their races, then the confirmation. Pure: no torch, ray or optuna.

The plan is a function of the study and of what has finished, not of when it finished: suggestion i of a search sees
only the trials of its earlier groups of `search.parallel`, a race begins when its search has ended, and a report seed
when its race has. So an interrupted study goes on to the same table.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum
from itertools import islice
from typing import Literal, Protocol

from dks_study.spec.space import arm_space, sampler_of, searched
from dks_study.spec.study import StudySpec, arm_trial
from dks_study.spec.trial import Setting, TrialSpec
from dks_study.study.cell import Cell, Phase, search_id, search_seed
from dks_study.study.choosing import Tried, chosen, confirmed, finalists, ranked, tried
from dks_study.study.confirming import confirmations
from dks_study.study.deciding import errors_of, growth
from dks_study.study.ledger import Outcome, Record
from dks_study.study.stopping import Watch, watch

PHASES: tuple[Phase, ...] = ("search", "race", "confirm")
Search = tuple[str, int]  # an arm, and which of its independent searches


class Step(Enum):
    """What to do when there is no cell to start."""

    WAIT = "wait"
    DONE = "done"


class Suggest(Protocol):
    """A sampler: the next setting of a search, as a function of what it has tried."""

    def __call__(self, search: Search, index: int, tried: Sequence[Tried], widened: Sequence[str]) -> Setting:
        """Return values for every axis of the arm, those named in `widened` within their widened range."""


class Planner:
    """Hands out cells and takes their outcomes, until every arm is searched and confirmed."""

    def __init__(self, study: StudySpec, suggest: Suggest, records: Iterable[Record] = ()) -> None:
        """Go on from `records` (the ledger)."""
        self._study, self._suggest = study, suggest
        known = list(records)
        self._cells = {record.cell.id: record.cell for record in known}
        self._outcomes = {record.cell.id: record.outcome for record in known}
        self._running: dict[str, Cell] = {}
        self._ended: dict[Search, list[Tried]] = {}  # of each search the first trials, all of which have ended
        self._spaces = {arm: arm_space(study, arm) for arm in study.arms}
        self._trials = {arm: searched(study, arm) for arm in study.arms}  # of each search
        # So many seeds has a search at most (see `search_seed`).
        self._most = max(self._trials.values()) + study.search.race_seeds
        self._begins = {  # where the report seeds of each search begin
            self._search_of(position): position for position in reversed(range(len(study.report_seeds)))
        }
        self._searches = [(arm, repeat) for repeat in sorted(self._begins) for arm in study.arms]
        grids = {arm for arm, space in self._spaces.items() if space.axes and sampler_of(study, space) == "grid"}
        self._grids = {arm: space.cells() if arm in grids else [] for arm, space in self._spaces.items()}
        self._edges: dict[Search, tuple[str, ...]] = {}
        self._races: dict[Search, list[Cell]] = {}
        self._members: dict[Search, tuple[Setting, ...]] = {}
        self._fronts: dict[tuple[Search, bool], int] = {}
        self._seeds_begun = 0  # so many of the first report seeds have all their trials
        self._growth = growth(study, {arm: {} for arm in study.arms})

    def next(self, may_begin: Callable[[Sequence[Cell]], bool] | None = None) -> Cell | Step:
        """Return a cell to start now (it counts as running from here on), WAIT, or DONE.

        `may_begin` is asked before a trial of a search, and before a report seed with all its trials: DONE then means
        that nothing runs, and that it has refused the rest.
        """
        while True:
            for find in (self._next_search, self._next_race, self._next_confirmation):
                cell = find()
                if cell and (may_begin is None or self._may_start(cell, may_begin)):
                    self._cells[cell.id] = self._running[cell.id] = cell
                    return cell
            if not self._looks():
                return Step.WAIT if self._running else Step.DONE

    def _may_start(self, cell: Cell, may_begin: Callable[[Sequence[Cell]], bool]) -> bool:
        if cell.phase != "confirm":
            return may_begin([cell])
        of_seed = list(self._confirmations(cell.index, cell.seed))
        if any(each.id in self._cells for each in of_seed):
            return True  # what has begun ends
        return {each.arm for each in of_seed} == set(self._taking(cell.index)) and may_begin(of_seed)

    def settle(self, cell_id: str, outcome: Outcome) -> None:
        """Take the outcome of a cell that `next` handed out."""
        if self._running.pop(cell_id, None) is None:
            raise ValueError(f"only a running trial can be settled, got {cell_id!r}")
        self._outcomes[cell_id] = outcome

    @property
    def running(self) -> tuple[Cell, ...]:
        """The cells that were handed out and not settled."""
        return tuple(self._running.values())

    def choice(self, arm: str, repeat: int = 0) -> Setting | None:
        """Return the setting to confirm: the winner of the race, or without one the best of the search.

        With several objectives it is the first member of the Pareto front. Without a search it is the arm as written.
        None: search or race are not over, or left nothing to choose from.
        """
        return next(iter(self.members(arm, repeat)), None)

    def members(self, arm: str, repeat: int = 0) -> tuple[Setting, ...]:
        """Return the settings to confirm: one, or with several objectives the arm's Pareto front, spread out."""
        if not self._trials[arm]:
            return ({},)
        search = arm, repeat
        if search not in self._members and self._is_searched(search):
            race = self._race(search)
            if all(cell.id in self._outcomes for cell in race):
                self._members[search] = self._choose(search, race)
        return self._members.get(search, ())

    def watch(self, cell: Cell) -> Watch | None:
        """Return what a search trial keeps of every epoch and where it stops; no other trial is ever stopped."""
        search = self._study.search
        if cell.phase == "confirm":
            return None
        costs = any(name.startswith("cost/") for name in search.objectives)
        if cell.phase == "race" or not search.objectives[0].startswith("val/"):
            return Watch(None, costs=costs)
        before = range(self._earlier(cell.index) if search.early_stopping.kind != "none" else 0)
        earlier = {i: self._outcomes.get(search_id(cell.arm, i, cell.repeat)) for i in before}
        others = {i: outcome.steps for i, outcome in earlier.items() if outcome and not outcome.lost}
        told = watch(search.early_stopping, search.objectives[0], cell.epochs, cell.index, others)
        return replace(told, costs=costs)

    def _earlier(self, index: int) -> int:
        """Return how many trials of a search are in groups before that of trial `index`."""
        return index - index % self._study.search.parallel

    def _is_searched(self, search: Search) -> bool:
        return self._front(search, self._outcomes) == self._trials[search[0]]

    def _next_search(self) -> Cell | None:
        fronts = {search: self._front(search, self._cells) for search in self._searches if self._is_open(search)}
        for search, index in sorted(fronts.items(), key=lambda item: item[1]):  # stable: arms in their own order
            if index < self._trials[search[0]] and self._front(search, self._outcomes) >= self._earlier(index):
                return self._search_cell(search, index)
        return None

    def _search_of(self, position: int) -> int:
        """Return the search of a report seed; where no arm has an axis there is nothing to repeat."""
        return self._study.search_of(position) if any(self._trials.values()) else 0

    def _is_open(self, search: Search) -> bool:
        """Is it known that the arm takes report seeds of this search?"""
        return self._growth.takes(search[0], self._begins[search[1]]) is True

    def _search_cell(self, search: Search, index: int) -> Cell:
        ended = self._earlier(index)  # a trial of the same group counts as running even if its result is known by now
        known = [*self._tried(search, ended), *(self._begun(search, i) for i in range(ended, index))]
        setting = self._setting(search, index, known)
        before = sum(trial.setting == setting for trial in known)
        seed = search_seed(self._study, search[1], before, self._most)
        epochs = self._study.epochs_of(search[0], setting, search=True)
        return Cell(search[0], "search", index, seed, epochs, setting, repeat=search[1])

    def _setting(self, search: Search, index: int, known: Sequence[Tried]) -> Setting:
        arm = search[0]
        queue = self._spaces[arm].queue(self._study.search.points)
        if index < len(queue):
            return queue[index]
        if not (grid := self._grids[arm]):
            return self._suggest(search, index, known, self._widened(search, index, known))
        order = [*queue, *(cell for cell in grid if cell not in queue)]
        return order[index % len(order)]

    def _widened(self, search: Search, index: int, known: Sequence[Tried]) -> tuple[str, ...]:
        """Return the axes that are widened for trial `index`: those at whose edge the best of the first half lies."""
        parallel = self._study.search.parallel
        half = -(-self._trials[search[0]] // (2 * parallel)) * parallel  # whole groups: all of them have ended by then
        if index >= half and search not in self._edges:
            best = ranked(self._study, known[:half])
            self._edges[search] = self._spaces[search[0]].edges(best[0]) if best else ()
        return self._edges[search] if index >= half else ()

    def _race(self, search: Search) -> list[Cell]:
        """Return the race after an ended search: seed by seed, every finalist."""
        if search not in self._races:
            study, (arm, repeat) = self._study, search
            settings = finalists(study, self._tried(search, self._trials[arm])) if study.search.race_seeds else []
            places = range(self._trials[arm], self._trials[arm] + study.search.race_seeds)
            seeds = [search_seed(study, repeat, place, self._most) for place in places]
            pairs = [(seed, setting) for seed in seeds for setting in settings if len(settings) > 1]
            self._races[search] = [
                Cell(arm, "race", i, seed, study.epochs_of(arm, setting, search=True), setting, repeat=repeat)
                for i, (seed, setting) in enumerate(pairs)
            ]
        return self._races[search]

    def _choose(self, search: Search, race: Sequence[Cell]) -> tuple[Setting, ...]:
        known = self._tried(search, self._trials[search[0]])
        if not self._study.search.race_seeds:
            return confirmed(self._study, known)
        won = chosen(self._study, known, [tried(self._study, cell, self._outcomes[cell.id]) for cell in race])
        return () if won is None else (won,)

    def _next_race(self) -> Cell | None:
        for search in self._searches:
            if self._trials[search[0]] and search not in self._members and self._is_searched(search):
                for cell in self._race(search):
                    if cell.id not in self._cells:
                        return cell
        return None

    def _next_confirmation(self) -> Cell | None:
        seeds = enumerate(self._study.report_seeds)  # seed by seed: a cut table is still paired
        for position, seed in islice(seeds, self._seeds_begun, None):
            if position >= self._growth.known:
                return None
            for cell in self._confirmations(position, seed):
                if cell.id not in self._cells:
                    return cell
            repeat, taking = self._search_of(position), self._taking(position)
            known = all((arm, repeat) in self._members or not self._trials[arm] for arm in taking)
            if known and position == self._seeds_begun:
                self._seeds_begun = position + 1  # nothing more will come with this seed
        return None

    def _taking(self, position: int) -> list[str]:
        """Return the arms of which it is known that they take a report seed."""
        return [arm for arm in self._study.arms if self._growth.takes(arm, position)]

    def _looks(self) -> bool:
        """Look which arms take the next report seeds, once all trials of those before have ended; is more known now?"""
        before = self._growth.known
        if before >= len(self._study.report_seeds) or self._seeds_begun < before:
            return False
        if any(cell.phase == "confirm" for cell in self._running.values()):
            return False
        errors = errors_of((self._cells[name], each) for name, each in self._outcomes.items())
        there = dict.fromkeys(range(before))  # nothing more comes with these seeds
        self._growth = growth(self._study, {arm: there | dict(each) for arm, each in errors.items()})
        return self._growth.known > before

    def _confirmations(self, position: int, seed: int) -> Iterator[Cell]:
        """Yield what is known by now of the trials with a report seed: each arm as written, and as tuned."""
        repeat = self._search_of(position)
        for arm in self._taking(position):
            yield from confirmations(
                self._study,
                self._spaces[arm],
                self.members(arm, repeat),
                Cell(arm, "confirm", position, seed, 0, {}, repeat=repeat),
                searched=self._trials[arm] > 0,
            )

    def _front(self, search: Search, known: Collection[str]) -> int:
        """Return the first index of `search` that is not in `known`."""
        index = self._fronts.get((search, known is self._cells), 0)
        while search_id(search[0], index, search[1]) in known:
            index += 1
        self._fronts[search, known is self._cells] = index
        return index

    def _begun(self, search: Search, index: int, outcome: Outcome | None = None) -> Tried:
        return tried(self._study, self._cells[search_id(search[0], index, search[1])], outcome)

    def _tried(self, search: Search, trials: int) -> Sequence[Tried]:
        """Return the first `trials` of a search, all of which have ended."""
        known = self._ended.setdefault(search, [])
        for index in range(len(known), trials):
            known.append(self._begun(search, index, self._outcomes[search_id(search[0], index, search[1])]))
        return known[:trials]


def trial_of(study: StudySpec, cell: Cell) -> TrialSpec:
    """Return what the trial of `cell` trains."""
    phase: Literal["search", "confirm"] = "confirm" if cell.phase == "confirm" else "search"
    split = (cell.index if cell.phase == "confirm" else cell.repeat) % study.splits  # a search sees that of its seeds
    return arm_trial(study, cell.arm, cell.setting, epochs=cell.epochs, phase=phase, seed=cell.seed, split=split)
