"""Where a method helps: its lines are the tables' own, drawn settings are compared search by search, and the page."""

import itertools

import nbformat
import numpy as np
import pandas as pd
import pytest
from made_tuned import tuned

from dks_study.analysis.kept import SHIPPED
from dks_study.analysis.plots.tuning import expected_effects
from dks_study.analysis.plots.where import draw_where
from dks_study.analysis.statistics.paired import mean_interval
from dks_study.analysis.tables.comparisons import comparisons, errors_by_seed
from dks_study.analysis.tables.where import effects, where_grid
from dks_study.spec.files import load_study
from dks_study.spec.study import arm_run
from dks_study.study.results import ResultsError, load_results


@pytest.fixture(scope="module")
def made():
    return tuned(repeats=4)


@pytest.fixture(scope="module")
def panels(made):
    tunings = [
        effects(made, {"dense (as written)": "as written"}),
        expected_effects(made, "dense", "baseline", (1, 2)),
        effects(made, {"dense": "search of 9"}),
    ]
    return {"arms": effects(made, {"dense": "dense", "ds": "ds"}), "trials": pd.concat(tunings)}


def test_lines_are_those_of_the_table_in_the_order_that_is_asked_for(made, panels):
    known, found = comparisons(made).set_index("arm"), panels["arms"].set_index("label")
    assert list(found.index) == ["dense", "ds"]
    for arm, line in found.iterrows():
        for key in ("n", "mean", "low", "high", "p_holm"):
            assert line[key] == known.loc[arm, key]
        assert line["of"] == "procedure"
        assert line["arm"] - line["base"] == pytest.approx(line["mean"])
    assert list(panels["trials"]["of"]) == ["settings", "drawn settings", "drawn settings", "procedure"]


def test_means_have_the_last_bit_and_so_the_last_digit_of_other_tables():
    kept = load_results(SHIPPED / "does_it_help_colour")  # whose baseline has a mean of 54.355 %
    (line,) = effects(kept, {"dks": "0"}).to_dict("records")
    assert line["base"] == errors_by_seed(kept)["baseline"].mean()


@pytest.mark.parametrize("row", ["baseline", "dks"])
def test_a_row_that_the_table_does_not_compare_is_named(made, row):
    with pytest.raises(ResultsError, match=f"^small: holds no comparison of {row}$"):
        effects(made, {row: "here"})


def test_drawn_settings_are_compared_search_by_search(made):
    trials = made.trials[(made.trials["phase"] == "search") & (made.trials["index"] > 0)]

    def lowest(arm, search):
        errors = 100 - trials[(trials["arm"] == arm) & (trials["repeat"] == search)]["val/top1/main"]
        return np.mean([min(pair) for pair in itertools.combinations(errors, 2)])

    differences = np.array([lowest("dense", search) - lowest("baseline", search) for search in range(4)])
    (line,) = expected_effects(made, "dense", "baseline", (2,)).to_dict("records")
    wanted = mean_interval(differences)
    assert (line["label"], line["n"]) == ("best of 2", 4)
    assert [line["mean"], line["low"], line["high"]] == pytest.approx([np.mean(differences), wanted.low, wanted.high])


@pytest.mark.parametrize(
    ("search", "trials"), [({"repeats": 4}, 9), ({"repeats": 1}, 2), ({"repeats": 4, "sampler": "tpe"}, 2)]
)
def test_searches_that_drew_fewer_or_learned_are_refused(search, trials):
    with pytest.raises(ResultsError, match=f"small: holds no two searches of dense that drew {trials} trials"):
        expected_effects(tuned(**search), "dense", "baseline", (1, trials) if trials == 9 else (trials,))


def test_a_panel_for_each_of_one_scale_with_a_mark_for_what_an_interval_is_of(panels):
    figure = draw_where(panels, "DKS", "baseline")
    assert [axes.get_xlabel() for axes in figure.axes] == ["arms", "trials"]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    low, high = figure.axes[0].get_ylim()
    lines = pd.concat(panels.values())
    assert low < lines["low"].min() < 0 < high
    assert high > lines["high"].max()
    labels = [[text.get_text() for text in axes.get_xticklabels()] for axes in figure.axes]
    assert labels == [["dense", "ds"], ["as\nwritten", "best\nof 1", "best\nof 2", "search\nof 9"]]
    assert [len(axes.containers) for axes in figure.axes] == [1, 3]


def test_a_table_names_what_a_panel_stands_against_once(panels):
    grid = where_grid(panels, "DKS", "baseline")
    assert [row[0].shown for row in grid.rows] == ["arms", "", "trials", "", "", ""]
    assert grid.header[3:5] == ("baseline (%)", "DKS (%)")
    assert [row[-1].shown == "" for row in grid.rows] == [False, False, False, True, True, False]


def test_arms_that_stand_in_one_panel_are_the_same_in_their_studies():
    help_, weights, size = (load_study(name, None) for name in ("does_it_help", "loss_weights", "training_size"))
    for arm, others in (("baseline", ("baseline", "baseline_all")), ("dks", ("dense", "dks_all"))):
        for study, other in zip((weights, size), others, strict=True):
            assert arm_run(study, other, {}) == arm_run(help_, arm, {})
            assert study.axes_of(other) == help_.axes_of(arm)


def test_the_page_has_the_numbers_of_the_notebook():
    notebook = nbformat.read(SHIPPED.parent / "08_where_does_it_help.ipynb", as_version=4)
    shown = [output["data"] for cell in notebook.cells for output in cell.get("outputs", [])]
    (table,) = [data["text/markdown"] for data in shown if "text/markdown" in data]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    page = (SHIPPED.parents[1] / "docs" / "method" / "where.md").read_text(encoding="utf-8").splitlines()
    assert len(rows) > 10
    assert [line for line in page if line.startswith("|")] == rows
