"""What the rows of a study's table are, and that everything beside the table goes by them: fronts, other references."""

from dataclasses import replace

import pandas as pd
import pytest
from made_up import made_up, with_front

from dks_study.analysis.collect import collect
from dks_study.analysis.plots import curves, effects, searches
from dks_study.analysis.report import prose
from dks_study.analysis.report.page import write_report
from dks_study.analysis.rows import confirmed_epochs, names, table_rows
from dks_study.analysis.tables.ablation import MixError, ablation
from dks_study.analysis.tables.comparisons import comparison_grid, comparisons
from dks_study.analysis.tables.costs import arm_costs
from dks_study.analysis.tables.study import arm_table, table_grid, to_markdown


def against(**pairs):
    """Return the made-up study with other references for some arms."""
    made = made_up(noise=0.0)
    table = made.study.table.model_copy(update={"against": pairs})
    return replace(made, study=made.study.model_copy(update={"table": table}))


def test_an_arm_has_a_row_for_each_confirmed_setting():
    found = [(row.name, row.arm, row.base) for row in table_rows(with_front())]
    assert found == [
        ("baseline", "baseline", "baseline"),
        ("ds", "ds", "baseline"),
        ("dense#1", "dense", "baseline"),
        ("dense#2", "dense", "baseline"),
    ]
    assert names(with_front()) == ["baseline", "ds", "dense", "dense#1", "dense#2"]


def test_the_first_setting_of_a_reference_stands_for_it():
    made = with_front()
    table = made.study.table.model_copy(update={"reference": "dense"})
    turned = replace(made, study=made.study.model_copy(update={"table": table}))
    compared = comparisons(turned).set_index("arm")
    assert set(compared["base"]) == {"dense#1"}
    assert compared.loc["dense#2", "mean"] == pytest.approx(1.0)
    assert arm_costs(turned).set_index("arm").loc["dense#1", "relative_time"] == 1.0


def test_numbers_go_by_row():
    made = with_front()
    table = arm_table(made).rows.set_index("arm")
    assert table["test_error_percent"].to_dict() == pytest.approx(
        {"baseline": 22.5, "ds": 20.5, "dense#1": 14.5, "dense#2": 15.5}
    )
    assert comparisons(made).set_index("arm")["mean"].to_dict() == pytest.approx(
        {"ds": -2.0, "dense#1": -8.0, "dense#2": -7.0}
    )
    assert list(arm_costs(made)["arm"]) == list(effects.trade_off(made)["arm"]) == list(table.index)
    assert set(confirmed_epochs(made)["arm"]) == set(table.index)
    assert set(curves.learning_curves(made)["n"]) == {6}
    assert set(curves.classifier_errors(made)["arm"]) == set(table.index)


def test_an_ablation_goes_by_row_and_refuses_to_average_settings():
    trials = collect([with_front()]).trials
    assert [line[0].text for line in ablation(trials, "row").rows] == ["baseline", "ds", "dense#1", "dense#2"]
    with pytest.raises(MixError, match=r"cell dense: several trials of one seed; they differ in row, optimiser\.lr"):
        ablation(trials, "arm")


def test_the_front_of_a_search_is_in_the_report(tmp_path):
    text = write_report(with_front(), tmp_path).read_text(encoding="utf-8")
    assert "Pareto fronts" in text
    assert "<b>What accuracy costs.</b>" in text
    assert "At most 4 settings on the Pareto front of val/top1/main, cost/macs_train are kept" in text
    steps = [line.get_ydata()[0] for line in searches.draw_search_front(with_front()).axes[0].get_lines()[1::2]]
    assert steps == pytest.approx([20.0, 18.0, 12.0]), "the lowest error of each arm, all being of one cost"


def test_every_arm_is_compared_with_its_own_reference():
    made = against(dense="ds")
    compared = comparisons(made).set_index("arm")
    assert compared["base"].to_dict() == {"dense": "ds"}
    assert compared.loc["dense", "mean"] == pytest.approx(-6.0)
    assert comparison_grid(made).rows[0][1].text == "ds"
    assert table_grid(arm_table(made)).header[3:5] == ("difference", "to")
    assert [label.get_text() for label in effects.draw_forest(made).axes[0].get_yticklabels()] == ["dense"]


def test_the_best_of_each_group_is_in_bold_and_in_the_answer():
    table = arm_table(against(dense="ds"))
    assert to_markdown(table).count("**") == 2 * 2, "the baseline stands alone; dense beats ds"
    answer = prose.answer(table)
    assert "baseline with 22.50 %; dense with 14.50 %, -6.00 points to ds" in answer
    assert "dense has less error than what they are compared with at the 5 % level" in answer


def test_stopped_searches_are_told_from_lost_ones():
    made = made_up()
    searched = made.trials.index[made.trials["phase"] == "search"]
    made.trials.loc[searched[:3], "status"] = "stopped"
    made.trials.loc[searched[3:5], "status"] = "failed"
    lost = made.trials.loc[searched[4:5]].assign(phase="race", trial="dense-race-0")
    notes = prose.left_out(arm_table(made), pd.concat([made.trials, lost]))
    assert notes[-3:] == (
        "3 search trials were stopped early and not chosen from.",
        "2 search trials have no result and could not be chosen from.",
        "1 race trial has no result and could not be chosen from.",
    )
    assert len(searches.search_history(made)) == len(searched) - 5


def test_a_search_for_the_lowest_loss_is_drawn_as_one():
    made = made_up()
    search = made.study.search.model_copy(update={"objectives": ("val/loss/main",)})
    lossy = replace(
        made,
        study=made.study.model_copy(update={"search": search}),
        trials=made.trials.assign(**{"val/loss/main": 0.25}),
    )
    assert set(searches.search_history(lossy)["error"]) == {0.25}
    assert searches.draw_search_history(lossy).axes[0].get_ylabel().startswith("val/loss/main")


def test_classifiers_of_other_networks_stand_before_the_own_ones():
    given = ["main", "ensemble", "stage2", "stage10", "stage2.1", "peer1.main", "peer1.stage1", "teacher"]
    assert curves._in_order(given) == [
        *("peer1.stage1", "peer1.main", "teacher", "stage2.1", "stage2", "stage10", "main", "ensemble")
    ]


def test_placements_that_differ_in_more_than_their_taps_are_refused():
    made = with_front()
    trials = collect([made]).trials
    with pytest.raises(MixError, match=r"loss\.pairing: differs between placements"):
        effects.placements(trials)
