"""A study that grows until its arms are decided: who takes the next report seeds, by what the first ones say.

The rule is a function of the errors by report seed, not of when they came, so that an interrupted study goes on to the
same table. It looks after `table.looks.first` seeds and then after every `every`, with tests that allow for all these
looks (`sequential`); an arm that is told from what it is compared with, or equivalent to it, takes no further seeds,
nor does what nobody is compared with any more. Lost trials have no error, and count as seeds that were not there; an
arm of which they leave too few is not decided.
Where searches are repeated what is independent is a search with its seeds, whose mean counts, and not a seed.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

from dks_study.spec.study import StudySpec
from dks_study.spec.table import LEVEL
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome

if TYPE_CHECKING:
    from dks_study.study.sequential import Seen

ERROR = "test/top1/main"
Errors = Mapping[str, Mapping[int, float | None]]  # by arm and position among the report seeds; None: lost


@dataclass(frozen=True)
class Growth:
    """How far the arms of a study grow, as far as it is known.

    Attributes:
        seeds: by arm, how many of the report seeds it takes: all, if that is open.
        known: who takes these first report seeds is known; of the next ones that depends on trials that have not ended.
    """

    seeds: Mapping[str, int]
    known: int

    def takes(self, arm: str, position: int) -> bool | None:
        """Does an arm take a report seed? None: it is not known yet."""
        if position >= self.seeds.get(arm, position):
            return False
        return True if position < self.known else None

    @property
    def over(self) -> bool:
        """Is there nothing to grow, but for trials of report seeds of which it is known who takes them?"""
        return self.known >= max(self.seeds.values())


def growth(study: StudySpec, errors: Errors) -> Growth:
    """Return how far each arm grows, from what has ended of its row as tuned; arms without any row are left out."""
    total = len(study.report_seeds)
    looks = study.table.looks
    if looks is None:
        return Growth(dict.fromkeys(errors, total), total)
    seeds, growing = dict.fromkeys(errors, total), set(errors)
    begun = max((position for each in errors.values() for position in each), default=-1)
    for begin, end in pairwise((0, *looks.after(total))):
        # What is not there where later seeds have begun will never be: its search left nothing to confirm.
        if begun < end and any(position not in errors[arm] for arm in growing for position in range(begin, end)):
            return Growth(seeds, end)
        left = undecided(study, errors, end)
        still = left | {study.table.reference_of(arm) for arm in left}
        seeds |= dict.fromkeys(growing - still, end)
        growing &= still
        if not growing:
            return Growth(seeds, end)
    return Growth(seeds, total)


def undecided(study: StudySpec, errors: Errors, seeds: int) -> set[str]:
    """Return the arms that the first `seeds` report seeds do not tell from what they are compared with."""
    arms = [arm for arm in errors if (base := study.table.reference_of(arm)) != arm and base in errors]
    found = {arm: compared(study, errors, arm, seeds) for arm in arms}
    left = _not_rejected({arm: each.rejects if each else _never for arm, each in found.items()})
    if (margin := study.table.margin) is None:
        return left
    return left & _not_rejected(
        {arm: partial(each.rules_out, margin) if each else _never for arm, each in found.items()}
    )


def _never(_level: float) -> bool:
    return False


def _not_rejected(tests: Mapping[str, Callable[[float], bool]]) -> set[str]:
    """Return what Holm's method (1979) does not reject; a test says whether it rejects at a level."""
    left = set(tests)
    while new := {name for name in left if tests[name](LEVEL / len(left))}:
        left -= new
    return left


def compared(study: StudySpec, errors: Errors, arm: str, seeds: int) -> "Seen | None":
    """Return what the pairs of `arm` among the first `seeds` report seeds say.

    None: it is a reference, or has too few.
    """
    from dks_study.study.sequential import seen  # scipy takes long to import, and every command has a planner

    base = study.table.reference_of(arm)
    if arm == base or base not in errors:
        return None
    both = [(position, errors[arm][position], errors[base].get(position)) for position in sorted(errors[arm])]
    differences = {
        position: mine - theirs
        for position, mine, theirs in both
        if position < seeds and mine is not None and theirs is not None
    }
    values = unit_means(study, differences)
    return seen(values, shares(study, differences)) if len(values) > 1 else None


def unit_means(study: StudySpec, differences: Mapping[int, float]) -> list[float]:
    """Return the means over what is independent, of differences by position: seeds, or all seeds of a search each."""
    units = dict[int, list[float]]()
    for position, difference in differences.items():
        units.setdefault(_unit(study, position), []).append(difference)
    return [fmean(each) for each in units.values()]


def _unit(study: StudySpec, position: int) -> int:
    return position if study.searches == 1 else study.search_of(position)


def shares(study: StudySpec, positions: Collection[int]) -> tuple[float, ...]:
    """Return the part of all report seeds that each look has had, of searches if those are repeated, at pairs with
    these positions.

    What was there between two looks, after the end of a study by the clock, counts as a look, too.
    """
    looks, total = study.table.looks, len(study.report_seeds)
    times = looks.after(total) if looks else (total,)
    most = total if study.searches == 1 else study.searches
    counts = [len({_unit(study, position) for position in positions if position < time}) for time in times]
    return tuple(sorted({count / most for count in counts if count > 1}))


def errors_of(trials: Iterable[tuple[Cell, Outcome]]) -> Errors:
    """Return the test errors (%) of the confirmations that count for a row as tuned."""
    found = dict[str, dict[int, float | None]]()
    for cell, outcome in trials:
        if cell.phase == "confirm" and "tuned" in cell.rows:
            found.setdefault(cell.arm, {})[cell.index] = None if outcome.lost else 100 - outcome.metrics[ERROR]
    return found
