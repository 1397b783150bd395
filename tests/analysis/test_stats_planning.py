"""Effect sizes, rank tests, what n seeds can show, and the mixed model: against books, tables and simulation."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from statsmodels.stats.power import TTestPower

from dks_study.analysis.statistics.mixed import mixed_effects
from dks_study.analysis.statistics.paired import hedges_g, paired_difference, wilcoxon_p
from dks_study.analysis.statistics.planning import (
    Spread,
    detectable_by_t,
    expected_half_width,
    plans,
    seeds_for_precision,
    smallest_detectable,
    trials_for_gain,
)

# Hours of sleep gained on each of two drugs (Cushny and Peebles 1905; the data of Student 1908).
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
# Darwin's maize (Fisher 1935): crossed minus self-fertilised height, eighths of an inch.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def ranked(differences):
    """Return the exact two-sided p of the signed-rank sum over all signs, by enumeration."""
    magnitudes = np.abs(differences)
    ranks = np.array([(np.sum(magnitudes < m) + np.sum(magnitudes <= m) + 1) / 2 for m in magnitudes])
    observed = abs(np.sum(np.sign(differences) * ranks))
    sums = [abs(np.dot(signs, ranks)) for signs in itertools.product((-1, 1), repeat=len(ranks))]
    return np.mean([each >= observed - 1e-9 for each in sums])


@pytest.mark.parametrize("differences", [[1, 2, 3, 4, 5, 6], [3, -1, 2, 5, 4], [1, 1, -2, 3, 3, 4, -5]])
def test_wilcoxon_is_that_of_all_signs(differences):
    assert wilcoxon_p(differences, [0] * len(differences)) == pytest.approx(ranked(differences))


def test_wilcoxon_of_the_sleep_data_leaves_the_zero_out():
    """Nine positive differences and a zero: 2 / 2**9."""
    assert wilcoxon_p(LAEVO, DEXTRO) == pytest.approx(2 / 512)
    assert wilcoxon_p([1.0, 2.0], [1.0, 2.0]) == 1.0


def test_hedges_g_of_the_sleep_data():
    """d_z = 1.58 / 1.229995; J(9) = 0.9139 in the tables of Hedges and Olkin (1985), to four digits 1 - 3/(4*9 - 1)."""
    assert hedges_g(LAEVO, DEXTRO) == pytest.approx(1.58 / 1.229995 * 0.9139, rel=5e-4)
    assert hedges_g(LAEVO, DEXTRO) == -hedges_g(DEXTRO, LAEVO)


@pytest.mark.parametrize("pairs", [([1.0, 2.0], [0.0, 0.0]), ([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])])
def test_hedges_g_is_undefined_without_spread_or_with_two_pairs(pairs):
    assert np.isnan(hedges_g(*pairs))


def test_hedges_g_is_right_on_average():
    random = np.random.default_rng(0)
    found = [hedges_g(list(random.normal(1.0, 1.0, 6)), [0.0] * 6) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize(("freedom", "power", "level"), [(5, 0.8, 0.05), (9, 0.9, 0.0125), (33, 0.8, 0.05)])
def test_what_a_t_test_detects_is_that_of_the_noncentral_t(freedom, power, level):
    found = detectable_by_t(freedom, power, level) / (freedom + 1) ** 0.5
    assert found == pytest.approx(TTestPower().solve_power(None, freedom + 1, level, power), rel=1e-4)


def test_thirty_four_pairs_find_half_a_standard_deviation():
    """Cohen (1988): d = 0.5 at 80 % power and 5 % takes 34 pairs."""
    assert smallest_detectable(1.0, 34) <= 0.5 < smallest_detectable(1.0, 33)


def test_eight_seeds_find_one_of_four_differences_only_if_all_signs_agree():
    """With p = 2/256 it is below 0.05/4, the next one is not: P(all eight above 0) = F(d)**8 = 0.8 gives d = 1.92."""
    by_hand = student.ppf(0.8 ** (1 / 8), 1e9)
    assert smallest_detectable(2.0, 8, comparisons=4) == pytest.approx(2 * by_hand, rel=0.02)


@pytest.mark.parametrize(("pairs", "comparisons"), [(6, 1), (8, 2), (10, 4)])
def test_the_smallest_detectable_difference_is_found_in_four_of_five_studies(pairs, comparisons):
    found = smallest_detectable(3.0, pairs, comparisons=comparisons)
    random = np.random.default_rng(7)
    p_values = [paired_difference(list(random.normal(found, 3.0, pairs)), [0.0] * pairs).p for _ in range(2000)]
    assert np.mean(np.array(p_values) < 0.05 / comparisons) == pytest.approx(0.8, abs=3 * 0.009 + 0.01)


def test_what_no_seed_can_show_cannot_be_detected():
    assert smallest_detectable(1.0, 5) == np.inf
    assert smallest_detectable(1.0, 7, comparisons=4) == np.inf
    assert np.isfinite(smallest_detectable(1.0, 8, comparisons=4))


def test_the_smallest_detectable_difference_falls_with_the_seeds():
    found = [smallest_detectable(1.0, pairs) for pairs in range(6, 16)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    "wrong", [(1.0, 1, 0.8, 1), (0.0, 6, 0.8, 1), (1.0, 6, 1.0, 1), (1.0, 6, 0.05, 1), (1.0, 6, 0.8, 0)]
)
def test_a_difference_that_cannot_be_planned_for_is_refused(wrong):
    with pytest.raises(ValueError, match="are needed, got"):
        smallest_detectable(*wrong)


@pytest.mark.parametrize("pairs", [3, 6, 8, 12])
def test_the_expected_half_width_is_that_of_simulated_intervals(pairs):
    random = np.random.default_rng(8)
    found = [paired_difference(list(random.normal(0, 2.0, pairs)), [0.0] * pairs) for _ in range(2000)]
    widths = np.array([(each.high - each.low) / 2 for each in found])
    # t's is the width at the true spread, of which the mean of a few samples falls short by the factor c4(n)
    shortfall = {3: 0.8862, 12: 0.9776}.get(pairs, 1.0)
    assert expected_half_width(2.0, pairs) * shortfall == pytest.approx(widths.mean(), rel=0.03)


@pytest.mark.parametrize(("std", "half_width"), [(1.0, 0.5), (3.0, 1.0), (100.0, 1.0), (0.1, 5.0), (0.0, 1.0)])
def test_seeds_for_precision_is_the_smallest_number_that_does(std, half_width):
    found = seeds_for_precision(std, half_width)
    assert expected_half_width(std, found) <= half_width
    assert found == 2 or expected_half_width(std, found - 1) > half_width


def test_a_hundred_seeds_bound_a_mean_to_a_fifth_of_its_spread():
    """t(0.975, 99) = 1.984, so +-0.1984 standard deviations."""
    assert expected_half_width(1.0, 100) == pytest.approx(0.1984, abs=1e-4)
    assert seeds_for_precision(1.0, 0.1985) == 100


def test_plans_reach_the_wanted_precision_with_fewer_seeds_the_more_searches():
    found = list(plans(Spread(seed_std=1.5, choice_std=0.7), 1.0))
    assert all(plan.half_width <= 1.0 for plan in found)
    assert [plan.seeds for plan in found] == sorted((plan.seeds for plan in found), reverse=True)
    assert found[-1].searches == found[-1].seeds, "a search for each seed is the last"
    four = next(plan for plan in found if plan.searches == 5)
    by_hand = student.ppf(0.975, 4) * (0.7**2 / 5 + 1.5**2 / four.seeds) ** 0.5
    assert four.half_width == pytest.approx(by_hand)


def test_nothing_is_proposed_for_the_procedure_where_the_spread_of_choices_is_not_known():
    assert list(plans(Spread(seed_std=1.5), 1.0)) == []


def test_trials_are_enough_where_twice_as_many_gain_little():
    curve = [10.0, 8.0, 7.5, 7.2, 7.1, 7.0, 6.95, 6.9]
    assert trials_for_gain(curve, 1.0) == 2
    assert trials_for_gain(curve, 0.1) is None


@pytest.mark.parametrize("wrong", [(-1.0, 1.0), (1.0, 0.0)])
def test_a_precision_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="are needed, got"):
        seeds_for_precision(*wrong)


def test_darwins_maize_by_the_book():
    """Fisher (1935): 1,726 of 2**15 sign patterns have as large a sum, p = 0.0527."""
    found = paired_difference(DARWIN, [0] * 15)
    assert found.mean == pytest.approx(20.933, abs=1e-3)
    assert found.p == pytest.approx(1726 / 2**15)


def contexts(random, effect=-2.0, varying=0.5, count=4, seeds=6):
    """Return trials of three arms in `count` contexts; arms differ by `effect`, which varies between contexts."""
    rows = []
    for context in range(count):
        base = random.normal(20, 5)
        arms = {arm: random.normal(0, varying) + (arm != "baseline") * effect for arm in ("baseline", "ds", "dense")}
        for seed in range(seeds):
            shared = random.normal(0, 0.5)
            rows += [
                (arm, f"c{context}", seed, base + own + shared + random.normal(0, 0.5)) for arm, own in arms.items()
            ]
    return pd.DataFrame(rows, columns=["arm", "context", "seed", "error"])


def test_a_mixed_model_of_balanced_data_has_the_mean_difference():
    frame = contexts(np.random.default_rng(0))
    found = mixed_effects(frame, "baseline").set_index("arm")
    means = frame.groupby("arm")["error"].mean()
    assert found.loc["ds", "difference"] == pytest.approx(means["ds"] - means["baseline"], abs=1e-4)
    assert (found["low"] < found["difference"]).all()
    assert (found["high"] < 0).all()
    assert set(found["contexts"]) == {4}


def test_what_a_mixed_model_cannot_do_is_refused():
    frame = contexts(np.random.default_rng(0))
    lacking = frame[(frame["arm"] != "ds") | (frame["context"] != "c1")]
    for bad in (frame[frame["context"] == "c0"], lacking):
        with pytest.raises(ValueError, match="two contexts or more"):
            mixed_effects(bad, "baseline")
    with pytest.raises(ValueError, match="two contexts or more"):
        mixed_effects(frame, "nobody")


@pytest.mark.parametrize("studies", [10, pytest.param(400, marks=pytest.mark.slow)])
def test_a_mixed_model_seldom_finds_what_is_not_there(studies):
    random = np.random.default_rng(1)
    found = [mixed_effects(contexts(random, effect=0.0), "baseline").iloc[0]["p"] < 0.05 for _ in range(studies)]
    assert np.mean(found) <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("test", [lambda a, b: paired_difference(a, b).p, wilcoxon_p])
def test_no_effect_is_found_in_at_most_five_per_cent(test):
    random = np.random.default_rng(6)
    hits = [test(list(random.standard_t(3, 8)), [0.0] * 8) < 0.05 for _ in range(1500)]
    assert 0.03 <= np.mean(hits) <= 0.05 + 3 * (0.05 * 0.95 / 1500) ** 0.5
