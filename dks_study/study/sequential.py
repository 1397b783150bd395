"""Tests that stay valid when one looks again and again: group-sequential bounds for the mean of paired differences.

After n_1 < n_2 < ... of at most N seeds somebody looks. The part of the error that may be spent by a look is a function
of the share n_k / N alone (Lan and DeMets 1983), so that neither the number of looks nor their times need be planned.
A bound is found as if the sum of n_k differences were a Brownian motion at the time n_k / N, and taken for the p of
Student's t test at that look (the significance-level approach: Jennison and Turnbull 2000, "Group sequential methods
with applications to clinical trials", section 4.4). benchmarks/looking.md has what that holds, and why this rule.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import e, exp, inf, log, sqrt

import numpy as np
from scipy import special

from dks_study.spec.table import LEVEL

SPENT = 0.85  # of the level: what t and skewed differences add to the error of a Brownian motion takes up the rest
Spending = Callable[[float, float], float]
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
_REACH = 8.0  # standard deviations: what lies beyond has a probability below 1e-15
_LEAST = 1e-15  # an error so small is none
_LOWEST, _HALVINGS = log(1e-12), 24  # of a p: where the search for it begins, and its steps
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)


def obrien_fleming(share: float, level: float) -> float:
    """Return what may be spent of a one-sided `level` by `share` of all seeds: hardly anything early on.

    2 - 2 Phi(z / sqrt(share)) with z the upper level/2 quantile (Lan and DeMets 1983), which makes bounds like those
    of O'Brien and Fleming (1979).
    """
    return float(2 * special.ndtr(special.ndtri(level / 2) / sqrt(share)))


def pocock(share: float, level: float) -> float:
    """Return level * ln(1 + (e - 1) share) (Lan and DeMets 1983), which makes bounds like those of Pocock (1977)."""
    return level * log(1 + (e - 1) * share)


@cache
def levels(shares: tuple[float, ...], level: float, spend: Spending = obrien_fleming) -> tuple[float, ...]:
    """Return for each look the one-sided p below which a test of a one-sided `level` in all rejects.

    Args:
        shares: rising, above 0 and at most 1: the part of all seeds that each look has.
        level: the chance to reject at some look if there is no effect; above 0, at most 0.5.
        spend: what part of it may be spent by a share.
    """
    found, spent = list[float](), 0.0
    points, weights = np.zeros(1), np.ones(1)  # of the motion where no look has rejected
    for before, now in pairwise((0.0, *shares)):
        step, allowed, far = sqrt(now - before), spend(now, level) - spent, _REACH * sqrt(now)
        bound = _bound(points, weights, step, sqrt(now), allowed) if allowed > _LEAST else inf
        spent += allowed if bound < inf else 0.0
        found.append(float(special.ndtr(-bound / sqrt(now))))
        points, weights = _moved(points, weights, step, -far, min(bound, far))
    return tuple(found)


def _bound(points: Vector, weights: Vector, step: float, deviation: float, allowed: float) -> float:
    """Return the value that the motion exceeds with the probability `allowed` after its next step.

    By Newton's method on the logarithm, which is concave: from above, where nothing had rejected before.
    """
    value = -deviation * float(special.ndtri(allowed))
    for _ in range(50):
        away = (points - value) / step
        beyond = float(weights @ special.ndtr(away))
        slope = float(weights @ np.exp(-(away**2) / 2)) / (step * sqrt(2 * np.pi))
        change = beyond / slope * log(beyond / allowed)
        value += change
        if abs(change) < 1e-10:
            break
    return value


def _moved(points: Vector, weights: Vector, step: float, low: float, high: float) -> tuple[Vector, Vector]:
    """Return the motion after a step, where it lies from `low` to `high`, by Gauss and Legendre's rule."""
    half = (high - low) / 2
    new = low + half * (1 + _NODES)
    density = np.exp(-(((new[:, None] - points) / step) ** 2) / 2) @ weights / (step * sqrt(2 * np.pi))
    return new, half * _WEIGHTS * density


def repeated_p(p: float, shares: tuple[float, ...]) -> float:
    """Return the one-sided p that allows for all looks so far, from that of the last one alone (1: above 0.5).

    It is the smallest level at which the last look rejects (the repeated p of Jennison and Turnbull 2000, section 9.2).
    """

    def rejects(logarithm: float) -> bool:
        return p <= levels(shares, SPENT * exp(logarithm))[-1]

    low, high = _LOWEST, log(0.5)
    if not rejects(high):
        return 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if rejects(middle) else (middle, high)
    return exp(high)


@dataclass(frozen=True)
class Seen:
    """The mean of n paired differences at the last of several looks, with what holds however often one looks.

    Attributes:
        standard_error: of the mean.
        n: two or more.
        shares: the part of all seeds that each look had (see `levels`).
    """

    mean: float
    standard_error: float
    n: int
    shares: tuple[float, ...]

    def rejects(self, level: float) -> bool:
        """Is a mean of 0 ruled out at a two-sided `level`?"""
        return self._p <= levels(self.shares, SPENT * level / 2)[-1]

    def rules_out(self, margin: float, level: float) -> bool:
        """Is a true mean of `margin` or more, either way, ruled out at `level`?"""
        p = equivalence_p(self.mean, self.standard_error, self.n - 1, margin)
        return p <= levels(self.shares, SPENT * level)[-1]

    @property
    def _p(self) -> float:
        """One-sided p of the last look alone, on the side of the mean."""
        return one_sided_p(abs(self.mean), self.standard_error, self.n - 1)

    @property
    def p(self) -> float:
        """Two-sided p of a mean of 0."""
        return min(1.0, 2 * repeated_p(self._p, self.shares))

    def equivalence_p(self, margin: float) -> float:
        """P of a true mean of `margin` or more, either way: two one-sided tests."""
        return repeated_p(equivalence_p(self.mean, self.standard_error, self.n - 1, margin), self.shares)

    @property
    def ends(self) -> tuple[float, float]:
        """The 95 % interval: at all looks together it holds the true mean so often."""
        half = half_width(self.standard_error, self.n - 1, levels(self.shares, SPENT * LEVEL / 2)[-1])
        return self.mean - half, self.mean + half


def seen(differences: Sequence[float], shares: tuple[float, ...]) -> Seen:
    """Return what two or more differences say at the last of the looks."""
    values = np.asarray(differences, dtype=float)
    error = unless_rounding(float(values.std(ddof=1)) / sqrt(len(values)), values)
    return Seen(float(values.mean()), error, len(values), shares)


def unless_rounding(standard_error: float, values: Vector) -> float:
    """Return the standard error of a mean of `values`; 0 if it is of the size of what rounding leaves of equal ones."""
    return standard_error if standard_error > 1e-12 * max(1.0, float(np.abs(values).max())) else 0.0


def one_sided_p(distance: float, standard_error: float, freedom: int) -> float:
    """Return the p of Student's t test of a mean that lies so far on the side that speaks against the hypothesis.

    Errors of few test images tie, so that equal values are no certainty. Without any spread it is the p of a sign test:
    that all of them lie on this side by chance.
    """
    if standard_error == 0:
        return _all_on_one_side(freedom) if distance > 0 else 1.0
    return float(special.stdtr(freedom, -distance / standard_error))


def half_width(standard_error: float, freedom: int, level: float) -> float:
    """Return half of the interval of a mean that leaves out what `one_sided_p` finds below `level` on either side."""
    if standard_error == 0:
        return 0.0 if _all_on_one_side(freedom) < level else inf
    return -float(special.stdtrit(freedom, level)) * standard_error if level else inf


def _all_on_one_side(freedom: int) -> float:
    return float(0.5 ** (freedom + 1))


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
    return one_sided_p(margin - abs(mean), standard_error, freedom)
