"""The sign-flip test of a mean, and the interval that it gives: all means that the test does not reject.

If differences lie symmetrically around their mean, every one could as well have come with the other sign. The share of
sign patterns with a sum at least as far from 0 is then an exact p, whatever the shape of the distribution (Fisher
1935). Flipping a set of signs leaves the sum at or below 0 just where the mean over that set is at or below 0, so the
2**n - 1 means over subsets cut the line into pieces of equal probability, and the interval lies between two of them
(Hartigan 1969, "Using subsample values as typical values"). It excludes 0 just where p < 0.05.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dks_study.spec.table import LEVEL

EXACT_PAIRS = 20  # up to here all 2**n sign patterns are gone through
DRAWN_PATTERNS = 2**17 - 1  # above
FEWEST_PAIRS = 6  # fewer have no finite 95 % interval
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


def smallest_p(pairs: int) -> float:
    """Return the smallest two-sided p that a sign-flip test of `pairs` differences can reach: 2 / 2**pairs."""
    return 0.5 ** (pairs - 1)


def pairs_to_reach(comparisons: int) -> int:
    """Return how many pairs a sign-flip test takes to go below 0.05 after Holm's adjustment for `comparisons`."""
    return next(pairs for pairs in range(1, 64) if max(1, comparisons) * smallest_p(pairs) < LEVEL)


@dataclass(frozen=True)
class SignFlip:
    """Two-sided p of a mean of 0, and the 95 % interval; its ends are infinite below six differences."""

    p: float
    low: float
    high: float


def sign_flip(differences: Vector) -> SignFlip:
    """Test and bound the mean of one or more independent differences, in their unit.

    The interval covers the true mean of a symmetric distribution with probability 1 - 2 * floor(2**n / 40) / 2**n:
    0.969 for six differences, 0.953 for eight, 0.951 for ten, 0.950 for twenty; of mildly skewed ones a little less:
    benchmarks/interval_coverage.md.
    """
    return _sign_flip(tuple(differences.tolist()))


@lru_cache(maxsize=1024)  # a report has most comparisons in several tables and figures
def _sign_flip(values: tuple[float, ...]) -> SignFlip:
    differences = np.array(values)
    sums, sizes = _subsets(differences)
    patterns = len(sums) + 1  # and the empty set
    total = float(differences.sum())
    nearly = 1e-12 * float(np.abs(differences).sum())  # sums that are equal but for the order of adding
    beyond = 1 + np.count_nonzero(sums <= nearly if total > 0 else sums >= -nearly)
    p = 1.0 if abs(total) <= nearly else min(1.0, 2 * beyond / patterns)
    rank = int(patterns * LEVEL / 2)
    if rank == 0:
        return SignFlip(p, -np.inf, np.inf)
    means = sums / sizes
    means.partition((rank - 1, len(means) - rank))
    return SignFlip(p, float(means[rank - 1]), float(means[-rank]))


def lower_ends(samples: np.ndarray, level: float) -> Vector:
    """Return the lower end of each row's interval of probability 1 - `level`: rows x differences in, rows out.

    A sample moved up by more than minus its end is one whose mean the test finds to be above 0. Minus infinity where so
    few differences reach no such level.
    """
    pairs = samples.shape[1]
    rank = int(2**pairs * level / 2)
    if rank == 0:
        return np.full(len(samples), -np.inf)
    chosen = np.arange(1, 2**pairs)[:, None] >> np.arange(pairs) & 1
    means = samples @ (chosen / chosen.sum(axis=1, keepdims=True)).T
    lowest: Vector = np.partition(means, rank - 1, axis=1)[:, rank - 1]
    return lowest


def _subsets(differences: Vector) -> tuple[Vector, Vector]:
    """Return the sums and sizes of all non-empty subsets, or of as many drawn ones; always the same for the same n."""
    count = len(differences)
    if count > EXACT_PAIRS:
        chosen = np.random.default_rng(0).random((DRAWN_PATTERNS, count)) < 0.5
        chosen[:, 0] |= ~chosen.any(axis=1)
        return chosen @ differences, chosen.sum(axis=1).astype(float)
    sums, sizes = np.zeros(1), np.zeros(1)
    for difference in differences:
        sums, sizes = np.concatenate([sums, sums + difference]), np.concatenate([sizes, sizes + 1])
    return sums[1:], sizes[1:]
