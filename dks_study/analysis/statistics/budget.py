"""Error against tuning budget: what the best of k search trials is expected to reach (Dodge et al. 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb


@dataclass(frozen=True)
class BestOf:
    """The lowest error among `trials` trials: its expectation, and the range that holds it in 80 of 100 searches."""

    trials: int
    expected: float
    low: float
    high: float


def best_of(errors: Sequence[float], trials: int) -> BestOf:
    """Return what the best of `trials` independent trials reaches, from the errors of as many trials or more.

    The expectation is the mean of the lowest error over all subsets of `trials` of the errors: an unbiased estimate,
    where that of Dodge et al., who draw with replacement, is too large. The range goes from the 10 % to the 90 %
    quantile over the same subsets.

    Raises:
        ValueError: if `trials` is not from 1 to the number of errors.
    """
    if not 1 <= trials <= len(errors):
        raise ValueError(f"trials must be from 1 to the number of errors, {len(errors)}, got {trials}")
    ordered, subsets = sorted(errors), comb(len(errors), trials)
    # The subsets whose lowest is the i-th: it, and trials - 1 of those after it.
    shares = [comb(len(errors) - 1 - i, trials - 1) / subsets for i in range(len(errors))]
    expected = sum(share * error for share, error in zip(shares, ordered, strict=True))
    return BestOf(trials, expected, _quantile(ordered, shares, 0.1), _quantile(ordered, shares, 0.9))


def budget_curve(errors: Sequence[float]) -> list[BestOf]:
    """Return the best of 1, 2, ... trials up to half of them: among more it is nearly always the same trial."""
    return [best_of(errors, trials) for trials in range(1, len(errors) // 2 + 1)]


def _quantile(ordered: Sequence[float], shares: Sequence[float], part: float) -> float:
    reached = 0.0
    for error, share in zip(ordered, shares, strict=True):
        reached += share
        if reached >= part - 1e-12:
            return error
    return ordered[-1]
