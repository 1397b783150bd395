"""Verdicts against a margin: hand-computed, against statsmodels, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import made_up
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from dks_study.analysis.statistics.margins import seeds_to_decide, verdict
from dks_study.analysis.tables.comparisons import comparisons
from dks_study.analysis.tables.study import arm_table, to_markdown, write_tables
from dks_study.study.results import Results
from dks_study.study.sequential import equivalence_p

DIFFERENCES = [0.3, -0.4, 0.1, 0.6, -0.2, 0.0, 0.2, -0.1]


def p_of(differences, margin):
    n = len(differences)
    return equivalence_p(float(np.mean(differences)), float(np.std(differences, ddof=1)) / math.sqrt(n), n - 1, margin)


@pytest.mark.parametrize("margin", [0.1, 0.3, 0.5, 2.0])
def test_two_one_sided_tests_are_those_of_statsmodels(margin):
    p, *_ = ttost_paired(np.array(DIFFERENCES), np.zeros(len(DIFFERENCES)), -margin, margin)
    assert p_of(DIFFERENCES, margin) == pytest.approx(p, rel=1e-12)


@given(st.floats(-3, 3), st.floats(0.01, 2), st.integers(1, 30), st.floats(0.05, 3))
def test_equivalent_is_a_90_percent_interval_inside_the_margin(mean, error, freedom, margin):
    half = stats.t.ppf(0.95, freedom) * error
    inside = -margin < mean - half and mean + half < margin
    p = equivalence_p(mean, error, freedom, margin)
    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == inside


def called_equivalent(noise):
    """Return how often differences whose true mean is the margin are called equivalent; `noise` [studies, seeds]."""
    return np.mean([p_of(1.0 + each, 1.0) < 0.05 for each in noise])


def test_arms_a_margin_apart_are_called_equivalent_one_time_in_twenty():
    random = np.random.default_rng(1)
    assert called_equivalent(random.normal(size=(4000, 8))) < 0.06
    skewed = random.gamma(4.0, 0.5, size=(4000, 8)) - 2.0  # skewness 1, standard deviation 1
    long_tail_outside, long_tail_inside = called_equivalent(skewed), called_equivalent(-skewed)
    assert (long_tail_outside + long_tail_inside) / 2 < 0.065
    assert 0.07 < long_tail_outside < 0.11, "what the docstring says"


def test_what_is_told_follows_from_both_p_values():
    assert verdict(-2.0, 0.01, 0.9) == "better"
    assert verdict(2.0, 0.01, 0.9) == "worse"
    assert verdict(-0.1, 0.01, 0.01) == "equivalent", "there, but too small to matter"
    assert verdict(-1.0, 0.2, 0.2) == "cannot tell"


def test_differences_without_any_spread():
    assert equivalence_p(0.2, 0.0, 5, 0.5) == 0.5**6, "that all six lie inside by chance"
    assert equivalence_p(0.5, 0.0, 5, 0.5) == 1
    assert seeds_to_decide(0.2, 0.0, 0.5) == 5
    assert seeds_to_decide(-2.0, 0.1, 0.5) == 6, "with five seeds no sign-flip test reaches 0.05"


@pytest.mark.parametrize(("mean", "margin"), [(0.0, 1.0), (-2.0, 0.5), (0.8, 1.0)])
def test_so_many_seeds_decide_and_one_fewer_does_not(mean, margin):
    def decides(n):
        error = 2.0 / math.sqrt(n)
        low, high = mean - stats.t.ppf(0.975, n - 1) * error, mean + stats.t.ppf(0.975, n - 1) * error
        half = stats.t.ppf(0.95, n - 1) * error
        return low > 0 or high < 0 or abs(mean) + half < margin

    seeds = int(seeds_to_decide(mean, 2.0, margin))
    assert decides(seeds)
    assert not decides(seeds - 1)
    assert seeds_to_decide(mean, 2.0, margin, comparisons=4) > seeds


def test_what_lies_between_is_never_decided():
    assert seeds_to_decide(0.0, 100.0, 0.01) == math.inf
    with pytest.raises(ValueError, match="a margin above 0"):
        equivalence_p(0.0, 1.0, 3, 0.0)


def with_margin(margin, **made):
    results = made_up(**made)
    table = results.study.table.model_copy(update={"margin": margin})
    return Results(results.study.model_copy(update={"table": table}), results.trials, results.epochs)


def test_the_table_says_what_is_better_equivalent_or_open(tmp_path):
    found = comparisons(with_margin(5.0, seeds=8, noise=1.0)).set_index("arm")["verdict"]
    assert found.to_dict() == {"ds": "equivalent", "dense": "better"}
    results = with_margin(1.9, seeds=8, noise=2.0)
    text = write_tables(results, tmp_path)
    header, rows = text.splitlines()[2], text.splitlines()[4:]
    assert "| verdict" in header
    assert any("cannot tell (n = " in row for row in rows)
    assert "a difference of 1.9 points or more, either way, is ruled out" in text
    assert "difference_verdict" not in text
    assert "verdict" in (tmp_path / "table.csv").read_text().splitlines()[0]


def test_without_a_margin_nothing_is_judged():
    text = to_markdown(arm_table(made_up()))
    assert "verdict" not in text.lower()
