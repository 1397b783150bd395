"""Paired comparisons over seeds: mean difference, BCa bootstrap interval, sign-flip test, Holm adjustment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

RESAMPLES = 9999


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

    The interval is BCa (Efron 1987) with a fixed resampling seed; the p-value is that of the exact sign-flip test of
    the mean (all 2**n flips up to n = 13, else 9,999 random ones).

    Raises:
        ValueError: if the lists differ in length or hold fewer than two pairs.
    """
    if len(treated) != len(reference) or len(treated) < 2:
        raise ValueError(f"two pairs or more are needed, got {len(treated)} and {len(reference)} values")
    differences = np.asarray(treated, dtype=float) - np.asarray(reference, dtype=float)
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


def _sign_flip(differences: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=np.random.default_rng(0)
    )
    return float(test.pvalue)
