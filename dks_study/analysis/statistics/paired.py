"""Paired comparisons over seeds: difference, interval, exact tests, Holm adjustment and effect size.

Every function takes plain numbers of one unit (percentage points of error in the tables) and gives back the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp, lgamma, sqrt
from typing import Literal

import numpy as np
from scipy import stats

from dks_study.analysis.statistics.signflip import FEWEST_PAIRS, Vector, sign_flip
from dks_study.spec.table import LEVEL
from dks_study.study.sequential import half_width, one_sided_p, unless_rounding


@dataclass(frozen=True)
class Difference:
    """Mean and standard deviation of n paired differences, with a 95 % interval and a two-sided p of no effect."""

    n: int
    mean: float
    std: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Interval:
    """95 % interval of a mean and two-sided p of a mean of 0.

    Attributes:
        standard_error: of the mean, with `freedom` degrees of freedom.
        method: what the interval comes from: "sign-flip", "t", "looks" (t with bounds that allow for looks), or
            "splits" (t on the means of the data's splits).
    """

    low: float
    high: float
    p: float
    standard_error: float
    method: Literal["sign-flip", "t", "looks", "splits"]
    freedom: int


def paired_difference(treated: Sequence[float], reference: Sequence[float]) -> Difference:
    """Compare two equally long lists, paired by position (seed); interval and p as `mean_interval` gives them.

    Raises:
        ValueError: if the lists differ in length or hold fewer than two pairs.
    """
    differences = paired(treated, reference)
    found = mean_interval(differences)
    mean, std = float(differences.mean()), float(differences.std(ddof=1))
    return Difference(len(differences), mean, std, found.low, found.high, found.p)


def mean_interval(values: Vector) -> Interval:
    """Return interval and p of the mean of two or more independent differences, by the sign-flip test (`signflip`).

    Below six differences, of which that test makes no 95 % interval, it is Student's t interval, which is exact for
    normal differences alone; p stays that of sign flips, so that it cannot fall below 0.05 there.
    """
    found, freedom = sign_flip(values), len(values) - 1
    error = unless_rounding(float(values.std(ddof=1)) / sqrt(len(values)), values)
    if len(values) >= FEWEST_PAIRS:
        return Interval(found.low, found.high, found.p, error, "sign-flip", freedom)
    return Interval(*t_ends(float(values.mean()), error, freedom), found.p, error, "t", freedom)


def t_ends(mean: float, standard_error: float, freedom: int) -> tuple[float, float]:
    """Return the 95 % interval of a mean with `freedom` degrees of freedom (Student 1908)."""
    if standard_error == 0:  # else scipy.stats, whose last digit kept tables have
        half = half_width(0.0, freedom, LEVEL / 2)
    else:
        half = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * standard_error
    return mean - half, mean + half


def t_p(mean: float, standard_error: float, freedom: int) -> float:
    """Return the two-sided p of a true mean of 0, by Student's t."""
    return min(1.0, 2 * one_sided_p(abs(mean), standard_error, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number (Holm 1979); statsmodels' takes 0.1 s to collect garbage."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    raised = accumulate((min(1.0, (len(order) - at) * p_values[i]) for at, i in enumerate(order)), max)
    adjusted = dict(zip(order, raised, strict=True))
    return [adjusted[i] for i in range(len(p_values))]


def wilcoxon_p(treated: Sequence[float], reference: Sequence[float]) -> float:
    """Return the two-sided p of the signed-rank test of pairs (Wilcoxon 1945): exact up to 20 pairs, ties included.

    Pairs without a difference are left out, as Wilcoxon did; without any difference p is 1.

    Raises:
        ValueError: as `paired_difference` does.
    """
    differences = paired(treated, reference)
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    # The test is that of all signs on the signed ranks; scipy's own way there is a hundred times slower.
    return sign_flip(np.sign(differences) * stats.rankdata(np.abs(differences))).p


def hedges_g(treated: Sequence[float], reference: Sequence[float]) -> float:
    """Return the mean difference in standard deviations of the differences (d_z), corrected for few pairs.

    d_z alone is too large on average; Hedges (1981) gives the factor J(m) = G(m/2) / (sqrt(m/2) G((m-1)/2)) for
    m = n - 1 degrees of freedom, where G is the gamma function. NaN where fewer than three pairs, or no spread, leave
    it undefined.

    Raises:
        ValueError: as `paired_difference` does.
    """
    differences = paired(treated, reference)
    freedom, std = len(differences) - 1, float(differences.std(ddof=1))
    if freedom < 2 or unless_rounding(std, differences) == 0:
        return float("nan")
    correction = exp(lgamma(freedom / 2) - lgamma((freedom - 1) / 2)) / sqrt(freedom / 2)
    return correction * float(differences.mean()) / std


def paired(treated: Sequence[float], reference: Sequence[float]) -> Vector:
    """Return treated - reference, by position; raises as `paired_difference` does."""
    if len(treated) != len(reference) or len(treated) < 2:
        raise ValueError(f"two pairs or more are needed, got {len(treated)} and {len(reference)} values")
    differences: Vector = np.asarray(treated, dtype=float) - np.asarray(reference, dtype=float)
    return differences
