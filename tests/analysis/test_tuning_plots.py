"""Error against tuning budget and over the nuisance axes: against brute force, and what may not be drawn."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tuned import AXES, TUNED, tuned
from made_up import made_up

from dks_study.analysis.plots import tuning
from dks_study.analysis.report import prose
from dks_study.analysis.report.page import write_report
from dks_study.analysis.statistics.budget import best_of, budget_curve

ERRORS = st.lists(st.integers(0, 20).map(float), min_size=1, max_size=8)


@settings(max_examples=60)
@given(ERRORS, st.data())
def test_the_expectation_is_the_mean_over_all_subsets(errors, data):
    trials = data.draw(st.integers(1, len(errors)))
    lowest = sorted(min(subset) for subset in itertools.combinations(errors, trials))
    found = best_of(errors, trials)
    assert found.expected == pytest.approx(np.mean(lowest))
    assert found.low == np.quantile(lowest, 0.1, method="inverted_cdf")
    assert found.high == np.quantile(lowest, 0.9, method="inverted_cdf")


def test_the_expectation_has_no_bias():
    """The lowest of four uniform numbers is 1/5 on average; twelve of them estimate that."""
    random = np.random.default_rng(0)
    found = [best_of(list(random.uniform(size=12)), 4).expected for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.2, abs=3 * np.std(found) / 4000**0.5)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_more_trials_never_expect_more_error(errors):
    expected = [point.expected for point in budget_curve(errors)]
    assert len(expected) == len(errors) // 2
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(expected))


@pytest.mark.parametrize("trials", [0, 4])
def test_more_trials_than_there_are_is_refused(trials):
    with pytest.raises(ValueError, match=f"trials must be from 1 to the number of errors, 3, got {trials}"):
        best_of([1.0, 2.0, 3.0], trials)


def test_curves_rest_on_the_drawn_trials_of_all_searches():
    made = tuned(repeats=4)
    frame = tuning.budget_curves(made)
    assert set(frame["arm"]) == set(TUNED)
    assert set(frame["drawn"]) == {4 * 8}, "nine trials a search, of which the first is the arm as written"
    trials = made.trials
    mine = trials[(trials["arm"] == "dense") & (trials["phase"] == "search") & (trials["index"] > 0)]
    dense = frame[frame["arm"] == "dense"].set_index("trials")
    assert dense.loc[1, "expected"] == pytest.approx((100 - mine["val/top1/main"]).mean())
    assert dense.index.max() == 16


def test_the_report_says_how_much_tuning_an_arm_needs(tmp_path):
    curve = pd.DataFrame({"arm": "a", "expected": [9.0, 8.0, 7.9, 7.8]})
    short = pd.DataFrame({"arm": "b", "expected": [9.0, 8.0]})
    wanted = (
        "Twice as many search trials make the expected error less than 0.5 points smaller from: a 2, b more than 1."
    )
    assert prose.tuning_needed(pd.concat([curve, short])) == wanted
    text = write_report(tuned(repeats=4), tmp_path).read_text(encoding="utf-8")
    assert "Twice as many search trials" in text
    for title in ("Error over what every arm tunes", "Error against tuning budget"):
        assert f"<b>{title}.</b>" in text


def test_after_an_axis_was_widened_trials_are_of_another_draw():
    made = tuned(repeats=2)
    there = (made.trials["arm"] == "ds") & (made.trials["phase"] == "search") & (made.trials["repeat"] == 1)
    made.trials.loc[there & (made.trials["index"] == 7), "setting/optimiser.lr"] = 1.5
    drawn = tuning.budget_curves(made).groupby("arm")["drawn"].first()
    assert drawn["ds"] == 8 + 4, "of nine trials the first half is five"
    assert drawn["dense"] == 16


@pytest.mark.parametrize("search", [{"sampler": "tpe"}, {"sampler": "gp"}])
def test_searches_that_learn_have_no_curve(search):
    assert not len(tuning.budget_curves(tuned(**search)))


def test_short_trials_have_neither_curve_nor_map():
    made = made_up()
    assert not len(tuning.budget_curves(made))
    assert not len(tuning.nuisance_errors(made)), "no axis is nuisance"


def test_the_map_has_every_setting_once_with_what_was_chosen():
    made = tuned(repeats=4)
    frame = tuning.nuisance_errors(made)
    dense = frame[frame["arm"] == "dense"].set_index(["optimiser.lr", "epochs"])
    assert dense.loc[(0.1, 10), "seeds"] == 4, "the arm as written opens each search"
    assert dense["chosen"].sum() == 4
    assert dense.loc[(0.2, 6), "chosen"] == dense.loc[(0.1, 10), "chosen"] == 1
    searched = made.trials[(made.trials["arm"] == "dense") & (made.trials["phase"] == "search")]
    own = searched[searched["index"] == 0]["val/top1/main"]
    assert dense.loc[(0.1, 10), "error"] == pytest.approx((100 - own).mean())
    assert dense["seeds"].sum() == len(searched)


def test_a_map_has_a_panel_for_each_arm_with_rings_at_the_choices():
    figure = tuning.draw_nuisance_errors(tuned(repeats=4))
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == list(TUNED)
    assert [len(axes.collections[1].get_offsets()) for axes in panels] == [4, 4, 4]
    assert panels[0].get_xscale() == "log"


@pytest.mark.parametrize("keys", [["optimiser.lr"], ["optimiser.lr", "epochs", "optimiser.weight_decay"]])
def test_other_numbers_of_axes_have_a_panel_for_each(keys):
    decay = {"float": [1.0e-5, 1.0e-2], "log": True, "role": "nuisance"}
    axes = {key: (AXES | {"optimiser.weight_decay": decay})[key] for key in keys}
    made = tuned(repeats=1, axes=axes)
    made.trials["setting/optimiser.weight_decay"] = 1e-4
    gone = [f"setting/{key}" for key in (*AXES, "optimiser.weight_decay") if key not in keys]
    figure = tuning.draw_nuisance_errors(type(made)(made.study, made.trials.drop(columns=gone), made.epochs))
    assert [axes.get_xlabel() for axes in figure.axes] == keys


def test_curves_are_drawn_with_a_band_for_each_arm():
    figure = tuning.draw_budget_curves(tuned(repeats=4))
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == list(TUNED)
    assert len(axes.collections) == 3
