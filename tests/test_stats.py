"""Statistics against enumeration, hand examples and simulation."""

import itertools

import numpy as np
import pytest

from analysis import stats
from analysis.stats import holm, paired_difference, smallest_p


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


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_equal_differences_have_no_spread():
    found = paired_difference([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])
    assert (found.mean, found.std, found.low, found.high) == (1.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(("treated", "reference"), [([1.0], [1.0]), ([1.0, 2.0], [1.0])])
def test_what_cannot_be_paired_is_refused(treated, reference):
    with pytest.raises(ValueError, match="two pairs or more"):
        paired_difference(treated, reference)


def test_intervals_cover_the_truth_and_no_effect_is_rarely_found(monkeypatch):
    """Two hundred made-up studies of twelve seeds; the rates are near the nominal ones (small n: a little below)."""
    monkeypatch.setattr(stats, "RESAMPLES", 499)
    random = np.random.default_rng(1)
    covered = found = 0
    for _ in range(200):
        differences = list(random.normal(1.0, 2.0, 12))
        interval = paired_difference(differences, [0.0] * 12)
        covered += interval.low <= 1.0 <= interval.high
        found += paired_difference(differences, [1.0] * 12).p < 0.05
    assert 0.86 <= covered / 200 <= 0.99
    assert found / 200 <= 0.09
