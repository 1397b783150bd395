"""Is a difference large enough to matter? Against a margin below which two arms count as equally good.

Differences are errors of an arm minus those of its reference: negative is better. All in one unit, points.
"""

import math
from math import sqrt
from typing import Literal

from dks_study.analysis.statistics.paired import t_p
from dks_study.analysis.statistics.signflip import pairs_to_reach
from dks_study.spec.table import LEVEL
from dks_study.study.sequential import equivalence_p

MOST_SEEDS = 10_000
Verdict = Literal["better", "worse", "equivalent", "cannot tell", "undecided"]
CANNOT_TELL: Verdict = "cannot tell"
UNDECIDED: Verdict = "undecided"  # where a study grows until its arms are decided


def verdict(mean: float, p_difference: float, p_equivalence: float) -> Verdict:
    """Return what two adjusted p values say; a difference that is there, but inside the margin, is equivalent."""
    if p_equivalence < LEVEL:
        return "equivalent"
    if p_difference < LEVEL:
        return "better" if mean < 0 else "worse"
    return CANNOT_TELL


def seeds_to_decide(mean: float, std: float, margin: float, comparisons: int = 1) -> float:
    """Return how many seeds decide, if mean and spread of the difference stay what they are; infinite: above 10,000.

    Each seed with a search of its own, where there are several; decided is what a t test finds against 0, with as many
    seeds as sign flips need for a p so small, or the two one-sided ones inside the margin, at the level that Holm's
    method asks of the clearest of `comparisons`.
    """
    fewest = pairs_to_reach(comparisons)

    def decides(seeds: int) -> bool:
        error, freedom = std / sqrt(seeds), seeds - 1
        differs = t_p(mean, error, freedom) if seeds >= fewest else 1.0
        return min(differs, equivalence_p(mean, error, freedom, margin)) < LEVEL / comparisons

    if not decides(MOST_SEEDS):
        return math.inf
    low, high = 1, MOST_SEEDS  # p falls with the number of seeds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
