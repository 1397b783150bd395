"""The end of a session by the clock (`--hours`, `--finish-by`): nothing begins that would not end in time.

What is begun is a report seed with all its trials, so that arms have equal seeds in the table, or a trial of a search.
How long it takes is learned from the study's own trials. What has begun ends, be it late.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from dks_study.spec.study import StudySpec
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome, Record
from dks_study.study.planned import planned
from dks_study.watch.estimate import Pace, mean_pace, with_trial


class Closing:
    """Says what there is time for until `at_s`, in seconds of time.time()."""

    def __init__(self, at_s: float, records: Iterable[Record] = ()) -> None:
        """Learn from the trials that have ended before."""
        self._at_s = at_s
        self._pace: Pace = {}
        self.ended = False  # is there something that was not begun, as it would not have ended in time?
        for record in records:
            self._pace = with_trial(self._pace, record.cell, record.outcome)

    def learn(self, cell: Cell, outcome: Outcome, seconds: float) -> None:
        """Learn how long a trial took, with the start of its process."""
        self._pace = with_trial(self._pace, cell, replace(outcome, seconds=seconds))

    def has_time(
        self, cells: Sequence[Cell], running: Iterable[tuple[Cell, float]], slots: int, now_s: float | None = None
    ) -> bool:
        """Would `cells` end in time, begun now?

        Before any trial has ended nobody knows how long one takes, and what can begin in time does.

        Args:
            cells: what would begin together.
            running: trials that run, with the seconds since they began.
            slots: how many run at a time.
            now_s: by time.time(); None: now.
        """
        lengths = [self._seconds(cell) for cell in cells]
        rests = [max(0.0, self._seconds(cell) - since) for cell, since in running]
        together = (sum(lengths) + sum(rests)) / max(1, slots)
        ends_s = (time.time() if now_s is None else now_s) + max(together, *lengths, *rests)
        self.ended = ends_s >= self._at_s
        return not self.ended

    def _seconds(self, cell: Cell) -> float:
        """Return how long a trial takes: by its arm's trials, else by all; 0: nobody knows."""
        pace = mean_pace(self._pace, (cell.arm, cell.phase))
        if pace is None:
            pace = fmean(each for known in self._pace.values() for each in known) if self._pace else 0.0
        return pace * cell.epochs


def missing(study: StudySpec, records: Iterable[Record]) -> str:
    """Return in words what a study that ended in time has not trained."""
    done, arms = Counter[str](), defaultdict[int, set[str]](set)
    for record in records:
        done[record.cell.phase] += 1
        if record.cell.phase == "confirm":
            arms[record.cell.seed].add(record.cell.arm)
    wanted = Counter[str]()
    for plan in planned(study).values():
        wanted.update(plan)
    looks = study.table.looks  # an arm that is decided takes no more seeds
    whole = sum(bool(arms[seed]) if looks else arms[seed] == set(study.arms) for seed in study.report_seeds)
    names = {"search": "search trials", "race": "of races", "confirm": "confirmation trials"}
    left = [f"{wanted[phase] - done[phase]} {name}" for phase, name in names.items() if wanted[phase] > done[phase]]
    return f"{whole} of {len(study.report_seeds)} report seeds are done; missing: at most {', '.join(left)}."
