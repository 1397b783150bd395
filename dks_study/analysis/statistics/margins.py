"""Is a difference large enough to matter? Against a margin below which two arms count as equally good.

Differences are errors of an arm minus those of its reference: negative is better. All in one unit, points.
"""

from math import inf, sqrt
from typing import Literal

from scipy import stats

from dks_study.analysis.statistics.signflip import LEVEL

MOST_SEEDS = 10_000
Verdict = Literal["better", "worse", "equivalent", "cannot tell"]
CANNOT_TELL: Verdict = "cannot tell"


def equivalence_p(mean: float, standard_error: float, freedom: int, margin: float) -> float:
    """Return the p of a true difference of `margin` or more, either way: two one-sided t tests (Schuirmann 1987).

    It is the larger of the two: below 0.05 if and only if the 90 % t interval lies inside the margin. With skewed
    differences (gamma, skewness 1, eight of them) 0.05 is 0.09 on the side of the long tail and 0.02 on the other
    (tests/analysis/test_margins.py).

    Raises:
        ValueError: if `margin` is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"a margin above 0 is needed, got {margin}")
    nearest = margin - abs(mean)
    if standard_error == 0:
        return 0.0 if nearest > 0 else 1.0
    return float(stats.t.sf(nearest / standard_error, freedom))


def verdict(mean: float, p_difference: float, p_equivalence: float) -> Verdict:
    """Return what two adjusted p values say; a difference that is there, but inside the margin, is equivalent."""
    if p_equivalence < LEVEL:
        return "equivalent"
    if p_difference < LEVEL:
        return "better" if mean < 0 else "worse"
    return CANNOT_TELL


def seeds_to_decide(mean: float, std: float, margin: float, comparisons: int = 1) -> float:
    """Return how many seeds decide, if mean and spread of the difference stay what they are; infinite: above 10,000.

    Each seed with a search of its own, where there are several; decided is what a t test finds against 0, or the two
    one-sided ones inside the margin, at the level that Holm's method asks of the clearest of `comparisons`.
    """

    def decides(seeds: int) -> bool:
        error, freedom = std / sqrt(seeds), seeds - 1
        away = abs(mean) / error if error else inf
        differs = 2 * float(stats.t.sf(away, freedom))
        return min(differs, equivalence_p(mean, error, freedom, margin)) < LEVEL / comparisons

    if not decides(MOST_SEEDS):
        return inf
    low, high = 1, MOST_SEEDS  # p falls with the number of seeds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
