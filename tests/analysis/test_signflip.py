"""The sign-flip test and its interval: against enumeration, scipy and the books."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from dks_study.analysis.statistics.signflip import lower_ends, pairs_to_reach, sign_flip, smallest_p

DIFFERENCES = st.lists(st.floats(-10, 10).map(lambda value: round(value, 3)), min_size=1, max_size=9)


def all_flips(differences, mean=0.0):
    """Return the share of sign patterns of differences - mean with as large a sum, one after the other."""
    moved = np.asarray(differences) - mean
    sums = [abs(np.dot(signs, moved)) for signs in itertools.product((-1, 1), repeat=len(moved))]
    return np.mean([each >= abs(moved.sum()) - 1e-9 for each in sums])


@settings(max_examples=60)
@given(DIFFERENCES)
def test_p_is_the_share_of_all_sign_patterns(differences):
    assert sign_flip(np.array(differences)).p == pytest.approx(all_flips(differences))


@pytest.mark.parametrize("pairs", [2, 7, 13])
def test_p_is_that_of_scipy(pairs):
    differences = np.random.default_rng(pairs).gamma(2.0, size=pairs) - 1.5
    other = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(differences).p == pytest.approx(other.pvalue)


@settings(max_examples=60)
@given(st.lists(st.integers(-30, 30), min_size=6, max_size=9, unique=True))
def test_the_interval_holds_what_the_test_does_not_reject(differences):
    """Just inside of either end p is above 0.05, just outside below: by flipping every sign at that mean."""
    found = sign_flip(np.array(differences, dtype=float))
    for end, outwards in ((found.low, -1), (found.high, 1)):
        assert all_flips(differences, end - outwards * 1e-6) > 0.05
        assert all_flips(differences, end + outwards * 1e-6) < 0.05


def test_six_differences_are_bounded_by_their_smallest_and_largest():
    """The only patterns below 5 % are those without a change of sign: 2 of 64."""
    found = sign_flip(np.array([3.0, -1.0, 4.0, 1.0, 5.0, 9.0]))
    assert (found.low, found.high) == (-1.0, 9.0)


def test_seven_differences_by_hand():
    """3 of 127 subsets may lie below: the third smallest of the means -6, -3 (of -6 and 0), -1 (-6, 0 and 3), 0 ..."""
    found = sign_flip(np.array([-6.0, 0.0, 3.0, 50.0, 60.0, 70.0, 80.0]))
    assert found.low == -1.5, "-6, -3 and (-6 + 3) / 2"


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_fewer_than_six_bound_nothing(pairs):
    found = sign_flip(np.arange(1.0, pairs + 1))
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.p == smallest_p(pairs)


def test_drawn_patterns_come_near_the_exact_ones():
    values = np.random.default_rng(1).normal(0.4, 1, 20)
    exact, drawn = sign_flip(values), sign_flip(np.append(values, values.mean()))
    assert drawn.p == pytest.approx(exact.p, abs=0.01), "one more difference, at the mean, changes little"
    assert (drawn.low, drawn.high) == pytest.approx((exact.low, exact.high), abs=0.05)
    assert sign_flip(np.zeros(25)).p == 1.0


def test_nothing_but_zeros_says_nothing():
    found = sign_flip(np.zeros(8))
    assert (found.p, found.low, found.high) == (1.0, 0.0, 0.0)


def test_ends_of_many_samples_are_those_of_each():
    samples = np.random.default_rng(2).normal(size=(5, 8))
    assert lower_ends(samples, 0.05) == pytest.approx([sign_flip(row).low for row in samples])


@pytest.mark.parametrize(("comparisons", "pairs"), [(1, 6), (2, 7), (4, 8), (6, 8), (7, 9)])
def test_pairs_to_reach_is_the_first_that_holm_lets_pass(comparisons, pairs):
    assert pairs_to_reach(comparisons) == pairs
    assert comparisons * 2 / 2**pairs < 0.05 <= comparisons * 2 / 2 ** (pairs - 1)
