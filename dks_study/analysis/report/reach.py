"""What Holm's adjustment asks of a study's seeds, known without any result; imports little, for --dry-run."""

from dks_study.analysis.statistics.signflip import pairs_to_reach
from dks_study.spec.study import StudySpec
from dks_study.spec.table import LEVEL

UNKNOWN = (
    "smallest difference that it can find: not known without the spread of an earlier study of this question on"
    " these data and this backbone (a pilot of a few report_seeds will do)"
)


def compared_arms(study: StudySpec) -> int:
    """Return how many arms are compared with another."""
    return sum(study.table.reference_of(arm) != arm for arm in study.arms)


def out_of_reach(study: StudySpec) -> str | None:
    """Return a line if no effect, however large, could be found with as many report seeds as `study` has."""
    seeds, comparing = len(study.report_seeds), compared_arms(study)
    needed = pairs_to_reach(comparing)
    between = 1 < study.searches < seeds  # t on the means of searches has no such limit
    if not comparing or between or seeds >= needed:
        return None
    several = f"{comparing} comparisons" if comparing > 1 else "a comparison"
    return f"{several} cannot reach p < {LEVEL:g} after Holm with {seeds} report seeds: use {needed} or more"
