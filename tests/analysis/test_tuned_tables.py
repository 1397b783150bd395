"""Tables of studies that tuned their arms: rows, both ends of training, estimands, bold, edges, sentences."""

import numpy as np
import pandas as pd
import pytest
from made_tuned import OWN, tuned

from dks_study.analysis.report import prose
from dks_study.analysis.report.page import write_report
from dks_study.analysis.rows import TUNED, WRITTEN, confirmed_epochs, left_out, names, table_rows
from dks_study.analysis.statistics.estimands import effect_of_procedure, effect_of_settings
from dks_study.analysis.statistics.paired import holm
from dks_study.analysis.tables.comparisons import CHOSEN, comparisons, errors_by_seed, not_told_apart
from dks_study.analysis.tables.grid import html, latex
from dks_study.analysis.tables.settings import chosen_settings, edges
from dks_study.analysis.tables.study import arm_table, table_grid, to_markdown, write_tables
from dks_study.study.results import Results

ROWS = ["baseline", "ds", "dense", "baseline (as written)", "ds (as written)", "dense (as written)"]


def by_arm(results, metric="test/top1/main"):
    return comparisons(results, metric).set_index("arm")


def test_every_arm_has_a_row_as_tuned_and_one_as_written():
    rows = table_rows(tuned())
    assert [row.name for row in rows] == ROWS
    assert [row.choice for row in rows] == [TUNED] * 3 + [WRITTEN] * 3
    assert [row.base for row in rows] == ["baseline"] * 3 + ["baseline (as written)"] * 3
    assert names(tuned()) == ["baseline", "ds", "dense"], "an arm as written has the look of the arm"


def test_an_arm_as_written_beside_a_reference_that_was_not_searched_is_compared_with_that():
    made = tuned()
    trials = made.trials[(made.trials["row"] != "baseline (as written)")]
    rows = {row.name: row.base for row in table_rows(Results(made.study, trials, made.epochs))}
    assert rows["dense (as written)"] == rows["dense"] == "baseline"


def test_a_trial_that_is_both_rows_counts_in_both():
    made = tuned(repeats=2)
    errors = errors_by_seed(made)
    odd = [seed for seed in range(8) if seed % 2]  # of the last search, which chose the arm as written
    assert (errors.loc[odd, "dense"] == errors.loc[odd, "dense (as written)"]).all()
    epochs = confirmed_epochs(made)
    assert set(epochs["arm"]) == set(ROWS)
    of_one = epochs[(epochs["arm"] == "dense (as written)") & (epochs["seed"] == 1)]
    assert list(of_one["epoch"]) == list(range(1, 11))


def test_a_training_shorter_than_the_longest_is_complete_and_a_cut_one_is_not():
    made = tuned(repeats=1)
    assert not list(left_out(made)), "six epochs were chosen, ten are the most"
    at = made.trials.index[
        (made.trials["row"] == "dense") & (made.trials["seed"] == 3) & (made.trials["phase"] == "confirm")
    ]
    made.trials.loc[at, "epochs"] = 5
    assert list(left_out(made)) == ["dense-confirm0-3 complete: only 5 of 6 epochs"]


@pytest.mark.parametrize(
    ("repeats", "sayable"), [(1, {"settings"}), (4, {"settings", "procedure"}), (8, {"procedure"})]
)
def test_a_table_says_what_its_searches_allow(repeats, sayable):
    made = tuned(repeats=repeats, choice=0.3)
    errors = errors_by_seed(made)
    differences = (errors["dense"] - errors["baseline"]).tolist()
    groups = [seed % repeats for seed in range(8)]
    line = by_arm(made).loc["dense"]
    found = {"settings": effect_of_settings(differences, groups), "procedure": effect_of_procedure(differences, groups)}
    for name, interval in found.items():
        ends = line[f"{name}_low"], line[f"{name}_high"]
        assert (interval is not None) == (name in sayable)
        assert np.isnan(ends).all() if interval is None else ends == (interval.low, interval.high)
    assert line["estimand"] == ("settings" if repeats == 1 else "procedure")
    text = to_markdown(arm_table(made))
    for name in ("settings", "procedure"):  # rows as written are always of the settings
        assert (f"95 % interval ({name})" in text) == (name in sayable or name == "settings")
    assert ("of one search, whose luck is not in it" in text) == (repeats == 1)


def test_rows_as_written_are_independent_seeds_whatever_the_searches():
    one, four = by_arm(tuned(repeats=1)), by_arm(tuned(repeats=4))
    for found in (one, four):
        line = found.loc["dense (as written)"]
        assert (line["estimand"], line["method"], line["freedom"]) == ("settings", "sign-flip", 7)


def test_rows_as_tuned_and_as_written_are_adjusted_apart():
    frame = by_arm(tuned(repeats=4, choice=0.3))
    for choice in (TUNED, WRITTEN):
        mine = frame[frame["choice"] == choice]
        assert mine["p_holm"].tolist() == holm(mine["p"].tolist())


def test_both_ends_of_training_are_columns():
    made = tuned(repeats=1)
    table = arm_table(made)
    assert (table.rows["test_error_percent"] - table.rows["test_chosen_error_percent"]).round(9).eq(0.5).all()
    text = to_markdown(table)
    assert "| at the epoch chosen (%) " in text
    assert "after the last epoch and after the epoch that validation chose" in text
    assert by_arm(made, CHOSEN).loc["dense", "mean"] == pytest.approx(by_arm(made).loc["dense", "mean"])


def test_bold_is_what_is_not_told_apart_from_the_best_of_its_block():
    table = arm_table(tuned(repeats=1, noise=0.1))
    assert table.rows.set_index("arm")["bold"].to_dict() == {name: name.startswith("dense") for name in ROWS}
    alike = pd.DataFrame(
        {"a": [1.0, 2, 3, 4, 5, 6, 7, 8], "b": [1.1, 1.9, 3.1, 3.9, 5.1, 5.9, 7.1, 8.1], "c": range(20, 28)}
    )
    repeats = pd.Series(0, index=alike.index)
    assert not_told_apart(alike, repeats) == ["a", "b"]
    assert not_told_apart(alike.iloc[:5], repeats) == ["a", "b", "c"], "five seeds tell nothing apart"


def test_one_search_chosen_settings_have_one_line_and_four_have_four():
    one, four = chosen_settings(tuned(repeats=1)), chosen_settings(tuned(repeats=4))
    assert one[["arm", "optimiser.lr", "epochs"]].to_numpy().tolist() == [[arm, 0.2, 6] for arm in ROWS[:3]]
    dense = four[four["arm"] == "dense"]
    assert dense["search"].tolist() == [0, 1, 2, 3]
    assert dense["epochs"].tolist() == [6, 6, 6, OWN["epochs"]]


def test_choices_at_an_edge_are_named_with_their_number_of_searches():
    assert "epochs of dense lies at the edge of its range in 1 of 4 searches: 10 (high)." in list(
        edges(tuned(repeats=4))
    )
    assert not list(edges(tuned(repeats=1)))


def test_an_axis_that_a_search_widened_has_its_edge_farther_out():
    made = tuned(repeats=1)
    trials = made.trials
    confirmed = (trials["arm"] == "ds") & (trials["phase"] == "confirm") & (trials["choice"] == TUNED)
    trials.loc[confirmed, "setting/optimiser.lr"] = 0.79
    assert list(edges(made)) == ["optimiser.lr of ds lies at the edge of its range: 0.79 (high)."]
    trials.loc[
        (trials["arm"] == "ds") & (trials["phase"] == "search") & (trials["index"] == 8), "setting/optimiser.lr"
    ] = 1.2
    assert not list(edges(made)), "up to 2.0 was searched"


def test_sentences_come_from_the_tuned_rows():
    made = tuned(repeats=1, noise=0.1)
    answer = prose.answer(arm_table(made))
    assert answer.startswith("Lowest mean test error as tuned: dense with ")
    assert "95 % interval of the settings" in answer
    assert "less error than baseline at the 5 % level: a statement about these settings" in answer
    # The same arm helps as written only: nothing may be said of it.
    tuned_only = (made.trials["phase"] == "confirm") & (made.trials["choice"] == TUNED)
    made.trials.loc[tuned_only, "test/top1/main"] = 90.0 - 0.1 * made.trials.loc[tuned_only, "seed"]
    answer = prose.answer(arm_table(made))
    assert "no arm is told apart from baseline" in answer
    assert "as written" not in answer


def test_an_arm_that_is_worse_is_said_to_be_worse():
    made = tuned(repeats=1, noise=0.1)
    worse = (made.trials["phase"] == "confirm") & (made.trials["row"] == "dense")
    made.trials.loc[worse, "test/top1/main"] -= 20
    assert "dense has more error than baseline" in prose.answer(arm_table(made))


def test_few_searches_are_warned_about():
    assert any(
        "2 searches of each arm bound the procedure's effect badly (1 degree" in n
        for n in arm_table(tuned(repeats=2)).notes
    )
    assert not any("Warning" in note for note in arm_table(tuned(repeats=4)).notes)


def test_a_rule_stands_between_rows_as_tuned_and_as_written():
    grid = table_grid(arm_table(tuned()))
    assert grid.breaks == (3,)
    assert html(grid).count('<tr class="ruled">') == 1
    lines = [line for line in latex(grid).splitlines() if "as written" in line and "&" in line]
    assert [line.startswith(r"\midrule ") for line in lines] == [True, False, False]


def test_the_table_and_what_was_chosen_are_written(tmp_path):
    write_tables(tuned(repeats=4), tmp_path)
    frame = pd.read_csv(tmp_path / "table.csv")
    assert frame["arm"].tolist() == ROWS
    assert {"choice", "estimand", "difference_procedure_low", "test_chosen_error_percent"} <= set(frame)
    assert len(pd.read_csv(tmp_path / "settings.csv")) == 3 * 4


def test_a_study_that_is_searched_and_not_confirmed_has_notes_and_a_report(tmp_path):
    made = tuned(repeats=4)
    trials = made.trials[made.trials["phase"] == "search"]
    begun = Results(made.study, trials, made.epochs[made.epochs["trial"].isin(trials["trial"])])
    notes = arm_table(begun).notes
    assert [note for note in notes if note.startswith("Left out")] == [
        f"Left out: arm {arm}: no complete confirmation trial." for arm in ROWS[:3]
    ]
    assert "Error over what every arm tunes" in write_report(begun, tmp_path).read_text(encoding="utf-8")


def test_trials_shorter_than_what_they_chose_for_are_said():
    made = tuned(repeats=1)
    search = made.study.search.model_copy(update={"epochs": 5})
    old = Results(made.study.model_copy(update={"search": search}), made.trials, made.epochs)
    assert (
        "Chosen by trials of 5 epochs for trainings of 10, which may rank settings otherwise." in arm_table(old).notes
    )
