"""Paired comparisons over seeds: difference, BCa interval, exact tests, Holm adjustment, effect size, and planning.

Every function takes plain numbers of one unit (percentage points of error in the tables) and gives back the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, sqrt

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests

RESAMPLES = 9999
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


def smallest_p(pairs: int) -> float:
    """Return the smallest two-sided p that a sign-flip test of `pairs` differences can reach: 2 / 2**pairs."""
    return 0.5 ** (pairs - 1)


@dataclass(frozen=True)
class Difference:
    """Mean and standard deviation of n paired differences, with a 95 % interval and a two-sided p of no effect."""

    n: int
    mean: float
    std: float
    low: float
    high: float
    p: float


def paired_difference(treated: Sequence[float], reference: Sequence[float]) -> Difference:
    """Compare two equally long lists, paired by position (seed); needs two pairs or more.

    The interval is BCa (Efron 1987) with a fixed resampling seed; of few pairs it is too narrow, covering 86 % for
    six. The p-value is that of the exact sign-flip test of the mean (all 2**n flips up to n = 13, else 9,999 random
    ones).

    Raises:
        ValueError: if the lists differ in length or hold fewer than two pairs.
    """
    differences = _differences(treated, reference)
    mean, std = float(differences.mean()), float(differences.std(ddof=1))
    if std == 0:  # no spread to resample
        low = high = mean
    else:
        interval = stats.bootstrap(
            (differences,), np.mean, method="BCa", n_resamples=RESAMPLES, rng=np.random.default_rng(0)
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return Difference(len(differences), mean, std, low, high, _sign_flip(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number (Holm 1979)."""
    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if p_values else []


def wilcoxon_p(treated: Sequence[float], reference: Sequence[float]) -> float:
    """Return the two-sided p of the signed-rank test of pairs (Wilcoxon 1945): exact up to 13 pairs, ties included.

    Pairs without a difference are left out, as Wilcoxon did; without any difference p is 1.

    Raises:
        ValueError: as `paired_difference` does.
    """
    differences = _differences(treated, reference)
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    # The test is that of all signs on the signed ranks; scipy's own way there is a hundred times slower.
    return _sign_flip(np.sign(differences) * stats.rankdata(np.abs(differences)))


def hedges_g(treated: Sequence[float], reference: Sequence[float]) -> float:
    """Return the mean difference in standard deviations of the differences (d_z), corrected for few pairs.

    d_z alone is too large on average; Hedges (1981) gives the factor J(m) = G(m/2) / (sqrt(m/2) G((m-1)/2)) for
    m = n - 1 degrees of freedom, where G is the gamma function. NaN where fewer than three pairs, or no spread, leave
    it undefined.

    Raises:
        ValueError: as `paired_difference` does.
    """
    differences = _differences(treated, reference)
    freedom, std = len(differences) - 1, float(differences.std(ddof=1))
    if freedom < 2 or std == 0:
        return float("nan")
    correction = exp(lgamma(freedom / 2) - lgamma((freedom - 1) / 2)) / sqrt(freedom / 2)
    return correction * float(differences.mean()) / std


def smallest_detectable(std: float, pairs: int, power: float = 0.8) -> float:
    """Return the true difference that a paired t test at 5 % finds with probability `power` (0.8).

    `std` is that of the paired differences, above 0, and the result has its unit. A sign-flip test of as many pairs
    finds about the same, but nothing below six pairs.

    Raises:
        ValueError: if `pairs` is below 2, `std` not above 0, or `power` not above 0.05 and at most 0.99.
    """
    if pairs < 2 or not std > 0 or not 0.05 < power <= 0.99:
        raise ValueError(f"pairs >= 2, std > 0 and 0.05 < power <= 0.99 are needed, got {pairs}, {std} and {power}")
    return float(std * optimize.brentq(lambda effect: _power(effect, pairs) - power, 0, 1e3))


def _power(effect: float, pairs: int) -> float:
    """Return the power of a two-sided paired t test at 5 % for a true d_z of `effect`.

    P(|T| > c) for noncentral T: the mean, over the sample's standard deviation in units of the true one, of what the
    normal distribution says. scipy's noncentral t, which statsmodels uses, is NaN at few pairs and large effects.
    """
    freedom = pairs - 1
    spread = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, freedom) / freedom)
    limit, shift = stats.t.ppf(0.975, freedom) * spread, effect * sqrt(pairs)
    return float(np.mean(stats.norm.cdf(shift - limit) + stats.norm.cdf(-shift - limit)))


def seeds_for_precision(std: float, half_width: float) -> int:
    """Return how many seeds make the 95 % t interval of a mean paired difference at most +- `half_width` wide.

    `std` is that of the paired differences, in the unit of `half_width`; the smallest n of two or more with
    t(0.975, n - 1) * std / sqrt(n) <= half_width.

    Raises:
        ValueError: if `std` is negative or `half_width` not above 0.
    """
    if std < 0 or not half_width > 0:
        raise ValueError(f"std >= 0 and half_width > 0 are needed, got {std} and {half_width}")
    pairs = max(2, int((1.96 * std / half_width) ** 2))  # the normal approximation is never too many
    while stats.t.ppf(0.975, pairs - 1) * std / sqrt(pairs) > half_width:
        pairs += 1
    return pairs


def _differences(treated: Sequence[float], reference: Sequence[float]) -> Vector:
    if len(treated) != len(reference) or len(treated) < 2:
        raise ValueError(f"two pairs or more are needed, got {len(treated)} and {len(reference)} values")
    differences: Vector = np.asarray(treated, dtype=float) - np.asarray(reference, dtype=float)
    return differences


def _sign_flip(differences: Vector) -> float:
    if len(differences) == 1:  # either sign is as far from 0; scipy takes two or more
        return 1.0
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=np.random.default_rng(0)
    )
    return float(test.pvalue)
