"""Effects of the settings and of the procedure: by hand, by other packages, and what cannot be said."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dks_study.analysis.statistics.estimands import components, effect, effect_of_procedure, effect_of_settings
from dks_study.analysis.statistics.paired import paired_difference

# Six seeds of three searches; by hand: means 2, 5 and 8 of two each, so 5 in all, and deviations of 1 inside.
BY_HAND, THREE = [1.0, 4.0, 7.0, 3.0, 6.0, 9.0], [0, 1, 2, 0, 1, 2]


def test_the_procedure_by_hand():
    """The standard error of 2, 5, 8 is 3 / sqrt(3); t(0.975, 2) = 4.303."""
    found = effect_of_procedure(BY_HAND, THREE)
    assert (found.method, found.freedom) == ("t", 2)
    assert (found.low, found.high) == pytest.approx((5 - 4.303 * 3**0.5, 5 + 4.303 * 3**0.5), abs=1e-3)
    assert found.p == pytest.approx(stats.ttest_1samp([2.0, 5.0, 8.0], 0.0).pvalue)


def test_the_settings_by_hand():
    """Squares inside are 2 + 2 + 2 with three degrees of freedom: a variance of 2; t(0.975, 3) = 3.182."""
    found = effect_of_settings(BY_HAND, THREE)
    assert (found.method, found.freedom) == ("t", 3)
    assert (found.low, found.high) == pytest.approx((5 - 3.182 * (2 / 6) ** 0.5, 5 + 3.182 * (2 / 6) ** 0.5), abs=1e-3)


def test_the_components_by_hand():
    """Between searches 2 * 9 with mean square 18, inside 2: (18 - 2) / 2 = 8 is the variance of a choice."""
    found = components(BY_HAND, THREE)
    assert (found.choice, found.seed) == pytest.approx((8**0.5, 2**0.5))


def test_searches_of_unequal_size_have_the_cluster_robust_error_of_statsmodels():
    values = np.random.default_rng(0).normal(1.0, 2.0, 10)
    groups = np.arange(10) % 4
    fit = sm.OLS(values, np.ones(10)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    found = effect_of_procedure(list(values), list(groups))
    assert found.standard_error == pytest.approx(float(fit.bse[0]) * (4 / 3) ** 0.5)


def test_after_one_search_nothing_is_said_of_the_procedure():
    values = [1.0, 2.0, -1.0, 3.0, 4.0, 2.5]
    found = effect(values, [0] * 6)
    assert found.procedure is None
    assert found.estimand == "settings"
    plain = paired_difference(values, [0.0] * 6)
    assert (found.claim.low, found.claim.high, found.claim.p) == (plain.low, plain.high, plain.p)
    assert np.isnan(found.components.choice)
    assert found.components.seed == pytest.approx(np.std(values, ddof=1))


def test_with_a_search_for_each_seed_the_differences_are_independent():
    values = [1.0, 2.0, -1.0, 3.0, 4.0, 2.5, 0.5, 2.0]
    found = effect(values, list(range(8)))
    assert found.settings is None
    assert found.estimand == "procedure"
    plain = paired_difference(values, [0.0] * 8)
    assert (found.claim.low, found.claim.high, found.claim.p) == (plain.low, plain.high, plain.p)
    assert np.isnan(found.components.choice)
    assert np.isnan(found.components.seed)


def test_a_negative_variance_is_none():
    """Searches with the very same mean: the seeds alone explain more than there is between them."""
    assert components([0.0, 0.0, 4.0, 4.0], [0, 1, 0, 1]).choice == 0.0


def test_means_that_tie_are_no_certainty_unless_they_are_many():
    few = effect_of_procedure([0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2], [0, 1, 0, 1])  # 0.30000000000000004 and 0.3
    assert (few.low, few.high, few.p) == (-np.inf, np.inf, 2 * 0.5**2)
    many = effect_of_procedure([2.0] * 12, [*range(6), *range(6)])
    assert (many.low, many.high, many.p) == (2.0, 2.0, 2 * 0.5**6)
    assert effect_of_procedure([0.0] * 4, [0, 1, 0, 1]).p == 1.0


@pytest.mark.parametrize(("differences", "repeats"), [([1.0], [0]), ([], []), ([1.0, 2.0], [0])])
def test_too_little_is_refused(differences, repeats):
    with pytest.raises(ValueError, match="needed"):
        _ = effect(differences, repeats).claim


@settings(max_examples=50)
@given(st.lists(st.integers(-20, 20), min_size=4, max_size=9), st.integers(2, 3), st.integers(-9, 9))
def test_intervals_move_with_the_differences_whatever_the_searches_are_called(values, searches, by):
    groups = [at % searches for at in range(len(values))]
    moved, named = [value + float(by) for value in values], [7 * (group + 1) for group in groups]
    for say in (effect_of_settings, effect_of_procedure):
        one, other = say([float(value) for value in values], groups), say(moved, named)
        assert (other.low - by, other.high - by) == pytest.approx((one.low, one.high), abs=1e-9)
        assert one.low <= np.mean(values) <= one.high + 1e-9
