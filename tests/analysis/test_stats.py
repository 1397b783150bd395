"""Statistics against enumeration, hand examples and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from dks_study.analysis.statistics.paired import hedges_g, holm, paired_difference, wilcoxon_p
from dks_study.analysis.statistics.signflip import smallest_p


def brute_force_p(differences):
    observed = abs(np.mean(differences))
    flips = itertools.product((-1, 1), repeat=len(differences))
    means = [abs(np.mean(np.multiply(flip, differences))) for flip in flips]
    return sum(mean >= observed - 1e-12 for mean in means) / len(means)


@pytest.mark.parametrize("seed", range(5))
def test_sign_flip_p_is_that_of_all_flips(seed):
    differences = np.random.default_rng(seed).normal(0.5, 1, 6)
    found = paired_difference(list(differences), [0.0] * 6)
    assert found.p == pytest.approx(brute_force_p(differences))


def test_smallest_p_is_reached_when_all_signs_agree():
    assert paired_difference([1, 2, 3, 4, 5, 6], [0] * 6).p == pytest.approx(smallest_p(6)) == pytest.approx(1 / 32)


# Hours of sleep gained on each of two drugs (Cushny and Peebles 1905; the data of Student 1908).
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_sleep_data_by_the_book():
    found = paired_difference(LAEVO, DEXTRO)
    assert found.n == 10
    assert found.mean == pytest.approx(1.58)
    assert found.std == pytest.approx(1.229995)
    assert found.p == pytest.approx(4 / 1024), "nine positive differences and a zero"
    assert found.low < 1.58 < found.high
    assert (found.low, found.high) == pytest.approx((0.95, 2.55), abs=0.25)


def test_three_differences_have_the_interval_of_t():
    """4.303 is the 97.5 % quantile of t with two degrees of freedom in any table."""
    found = paired_difference([1.0, 2.0, 6.0], [0.0] * 3)
    assert (found.low, found.high) == pytest.approx(
        (3 - 4.303 * 7**0.5 / 3**0.5, 3 + 4.303 * 7**0.5 / 3**0.5), abs=1e-3
    )


def test_the_other_direction_has_the_other_sign_and_the_same_p():
    one, other = paired_difference(LAEVO, DEXTRO), paired_difference(DEXTRO, LAEVO)
    assert other.mean == -one.mean
    assert (other.std, other.p) == pytest.approx((one.std, one.p))
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))


def test_the_interval_moves_and_stretches_with_the_differences():
    values = np.random.default_rng(4).normal(0, 1, 9)
    base, moved, stretched = (paired_difference(list(each), [0.0] * 9) for each in (values, values + 5, values * 2))
    assert (moved.low, moved.high) == pytest.approx((base.low + 5, base.high + 5))
    assert (stretched.low, stretched.high) == pytest.approx((2 * base.low, 2 * base.high))


def test_the_same_numbers_give_the_same_result_every_time():
    values = list(np.random.default_rng(3).normal(0, 1, 21))
    first, again = (paired_difference(values, [0.0] * 21) for _ in range(2))
    assert first == again
    assert 0 < first.p <= 1, "at 21 pairs the flips are drawn"


@pytest.mark.parametrize("differences", [[1, 2], [0, 1], [0, 0, 0, 0, 0, 1], [-1, 1], [1, 1, 2], [1, 1 + 1e-15, 1]])
def test_few_or_nearly_equal_differences_have_a_finite_interval(differences):
    found = paired_difference([float(value) for value in differences], [0.0] * len(differences))
    assert found.low <= found.mean <= found.high
    assert found.p == pytest.approx(brute_force_p(differences))


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
        ([0.005, 0.011, 0.02, 0.04, 0.13], [0.025, 0.044, 0.06, 0.08, 0.13]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.04], [0.04]),
        ([], []),
    ],
)
def test_holm_by_hand(raw, adjusted):
    assert holm(raw) == pytest.approx(adjusted)


@settings(max_examples=5)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_lowers_a_p(raw):
    adjusted = holm(raw)
    assert all(p <= q <= 1 for p, q in zip(raw, adjusted, strict=True))
    assert min(adjusted) == pytest.approx(min(1.0, len(raw) * min(raw)))
    assert adjusted == pytest.approx(list(multipletests(raw, method="holm")[1]))
    in_order = [adjusted[i] for i in np.argsort(raw, kind="stable")]
    assert in_order == sorted(in_order)


def test_equal_differences_have_no_spread():
    found = paired_difference([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])
    assert (found.mean, found.std, found.low, found.high) == (1.0, 0.0, -math.inf, math.inf), "three may tie by chance"
    many = paired_difference([1.0] * 6, [0.0] * 6)
    assert (many.low, many.high, many.p) == (1.0, 1.0, smallest_p(6))
    assert math.isnan(hedges_g([1.1, 1.2, 1.3], [0.0, 0.1, 0.2])), "1.1 three times, but for rounding"


@pytest.mark.parametrize(("treated", "reference"), [([1.0], [1.0]), ([1.0, 2.0], [1.0])])
def test_what_cannot_be_paired_is_refused(treated, reference):
    with pytest.raises(ValueError, match="two pairs or more"):
        paired_difference(treated, reference)


def test_no_effect_is_found_exactly_as_often_as_p_says():
    """Without an effect all signs are equally likely: over all of them, p is uniform on its 64 values."""
    sizes = np.random.default_rng(2).normal(0.0, 2.0, 7)
    found = [
        paired_difference(list(np.multiply(signs, sizes)), [0.0] * 7).p
        for signs in itertools.product((-1, 1), repeat=7)
    ]
    assert sorted(found) == pytest.approx([2 * k / 128 for k in range(1, 65) for _ in range(2)])
    assert np.mean([p < 0.05 for p in found]) == 6 / 128


def test_one_pair_that_differs_says_nothing():
    assert wilcoxon_p([1.0, 2.0, 5.0], [1.0, 2.0, 3.0]) == 1.0
