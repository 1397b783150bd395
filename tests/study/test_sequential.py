"""Bounds for many looks: published values, a multivariate normal distribution, and what must hold of any p."""

import math

import numpy as np
import pytest
from scipy import stats

from dks_study.study.sequential import (
    SPENT,
    Seen,
    equivalence_p,
    levels,
    obrien_fleming,
    one_sided_p,
    pocock,
    repeated_p,
    seen,
)

FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
SHARES = tuple(n / 24 for n in range(5, 25))


@pytest.mark.parametrize(
    ("spend", "bounds"),
    [
        (obrien_fleming, (4.877, 3.357, 2.680, 2.290, 2.031)),
        (pocock, (2.438, 2.427, 2.410, 2.397, 2.386)),
    ],
)
def test_bounds_of_five_equal_looks_are_those_that_are_published(spend, bounds):
    """Of a one-sided 2.5 %: from memory, as R's ldbounds and gsDesign print them; below they are computed otherwise."""
    found = -stats.norm.ppf(levels(FIFTHS, 0.025, spend))
    np.testing.assert_allclose(found, bounds, atol=6e-4)


@pytest.mark.parametrize(("spend", "shares"), [(obrien_fleming, (0.3, 0.5, 1.0)), (pocock, (0.2, 0.25, 0.9))])
def test_the_chance_to_reject_by_then_is_what_may_be_spent_by_then(spend, shares):
    """By scipy's multivariate normal: z at two looks is correlated by the square root of the shares' ratio."""
    bounds = -stats.norm.ppf(levels(shares, 0.05, spend))
    ratio = [[math.sqrt(min(a, b) / max(a, b)) for b in shares] for a in shares]
    for look in (1, 2, 3):
        cov = np.array(ratio)[:look, :look]
        inside = stats.multivariate_normal.cdf(bounds[:look], cov=cov, abseps=1e-6, releps=1e-6)
        assert 1 - inside == pytest.approx(spend(shares[look - 1], 0.05), abs=1e-5)


def test_one_look_at_the_end_is_an_ordinary_test():
    assert levels((1.0,), 0.05) == pytest.approx((0.05,))
    assert repeated_p(0.01, (1.0,)) == pytest.approx(0.01 / SPENT, rel=1e-5)


def test_a_larger_level_rejects_more_at_every_look():
    rising = np.array([levels(SHARES, level) for level in (0.001, 0.01, 0.05, 0.2, 0.35, 0.5)])
    assert (np.diff(rising, axis=0) > 0).all(), "else a p that allows for looks would not be one"


@pytest.mark.parametrize("p", [1e-6, 0.003, 0.04])
@pytest.mark.parametrize("look", [4, 12, 20])
def test_the_p_is_the_level_at_which_the_look_just_rejects(p, look):
    found = repeated_p(p, SHARES[:look])
    assert found > p
    if found < 1:
        assert levels(SHARES[:look], SPENT * found)[-1] == pytest.approx(p, rel=1e-4)


def test_interval_p_and_decision_agree():
    for shift in np.linspace(0, 2, 9):
        told = seen([shift + 0.4 * each for each in (1, -1, 0.5, -0.8, 0.3, 0.9, -1.2, 0.1, -0.6, 0.7)], SHARES[:6])
        low, high = told.ends
        assert (low > 0 or high < 0) == (told.p < 0.05) == told.rejects(0.05)
        assert told.rules_out(1.0, 0.05) == (told.equivalence_p(1.0) < 0.05)
    assert seen([0.1] * 5, SHARES[:1]) == Seen(pytest.approx(0.1), pytest.approx(0, abs=1e-12), 5, SHARES[:1])


def test_the_t_test_behind_it_is_students():
    values = np.array([0.3, -0.4, 0.9, 0.6, -0.2])
    error = values.std(ddof=1) / math.sqrt(5)
    assert 2 * one_sided_p(values.mean(), error, 4) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert one_sided_p(0.0, 0.0, 4) == 1


def test_values_that_tie_are_no_certainty():
    """Errors of few test images do: two differences of 0.22 points each say nothing at a first look."""
    assert one_sided_p(0.2, 0.0, 4) == 0.5**5, "that all five lie on this side by chance"
    assert equivalence_p(0.2, 0.0, 5, 0.5) == 0.5**6
    tied = seen([0.1 + 0.2, 0.3], (2 / 12,))
    assert tied.standard_error == 0
    assert not tied.rejects(0.05)
    assert not tied.rules_out(1.0, 0.05)
    assert tied.ends == (-math.inf, math.inf)
    whole = seen([0.3] * 12, (0.5, 1.0))
    assert whole.rejects(0.05)
    assert whole.ends == pytest.approx((0.3, 0.3))


def test_so_early_that_nothing_may_be_spent_nothing_is_told():
    early = seen([5.0, 5.1], (2 / 200,))
    assert early.ends == (-math.inf, math.inf)
    assert early.p == 1
