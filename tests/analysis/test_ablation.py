"""Rows x columns from made-up trials: the numbers, and what may not stand in one table."""

import numpy as np
import pandas as pd
import pytest
from made_tuned import tuned
from made_up import ERRORS, made_up

from dks_study.analysis.collect import collect
from dks_study.analysis.tables.ablation import MixError, ablation, ablation_cells, shared_seeds
from dks_study.spec.study import StudySpec
from dks_study.study.results import Results


def trials(**wanted):
    return collect([made_up(**wanted)]).trials


def both(seeds=6, **other):
    """Return the trials of two studies, the second one made with `other`."""
    return collect([made_up(seeds), made_up(seeds, **other)]).trials


def test_cells_are_mean_and_std_over_seeds():
    cells = ablation_cells(trials(noise=0.0), "arm").set_index("row")
    assert list(cells.index) == list(ERRORS), "in the order of the study"
    for arm, error in ERRORS.items():
        assert cells.loc[arm, "mean"] == pytest.approx(error + 2.5)
        assert cells.loc[arm, "std"] == pytest.approx(np.std(range(6), ddof=1))
        assert cells.loc[arm, "n"] == 6


def test_the_papers_style_has_a_row_per_network_and_a_column_per_method():
    backbones = {"name": "resnet", "depth": 14, "base_channels": 4}
    grid = ablation(both(seeds=8, backbone=backbones), "backbone", "arm", title="T")
    assert grid.header == ("backbone", "baseline", "ds", "dense")
    assert [row[0].text for row in grid.rows] == ["resnet-8 (base_channels 4)", "resnet-14 (base_channels 4)"]
    assert [[cell.bold for cell in row] for row in grid.rows] == [[False, False, False, True]] * 2, "best of its row"


def test_arms_as_rows_and_backbones_as_columns_have_the_best_of_each_column_in_bold():
    trials = both(seeds=8, backbone={"name": "resnet", "depth": 14, "base_channels": 4})
    grid = ablation(trials, "arm", "backbone")
    assert [[cell.bold for cell in row[1:]] for row in grid.rows] == [[False] * 2, [False] * 2, [True] * 2]


def test_what_six_seeds_cannot_tell_apart_is_all_in_bold():
    """Three arms make two comparisons, of which six seeds reach 2 * 2/64 at best."""
    grid = ablation(trials(), "arm")
    assert [row[1].bold for row in grid.rows] == [True] * 3
    assert grid.notes[0].endswith("bold: not told apart from the best.")


def test_what_each_search_chose_for_its_seeds_stands_in_one_cell():
    cells = ablation_cells(collect([tuned(repeats=4)]).trials, "arm").set_index("row")
    assert list(cells.index) == list(ERRORS)
    assert set(cells["n"]) == {8}, "rows as written are not among them"


def test_a_dotted_key_that_arms_change_can_be_rows_or_columns():
    cells = ablation_cells(trials(noise=0.0), "loss.pairing", "branches.taps").set_index(["row", "column"])
    assert cells["mean"].to_dict() == pytest.approx(
        {("none", "none"): 22.5, ("none", "stage1, stage2"): 20.5, ("dense", "stage1, stage2"): 14.5}
    )


def test_several_metrics_are_columns_and_what_an_arm_lacks_is_empty():
    grid = ablation(trials(noise=0.0), "arm", metrics=("test/top1/main", "test/top1/stage1", "time/train_s"))
    assert grid.header == ("arm", "test error (%)", "test error of stage1 (%)", "time/train_s")
    assert [cell.shown for cell in grid.rows[0]] == ["baseline", "22.50 ± 1.87", "", "1.00 ± 0.00"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"data": {"name": "digits", "label_noise": 0.2}}, "recipe: data.label_noise is 0.4 and 0.2 in one table"),
        ({"optimiser": {"lr": 0.1, "batch_size": 256}}, "recipe: optimiser.lr is 0.05 and 0.1 in one table"),
        ({"data": {"name": "digits", "label_noise": 0.4, "split_seed": 7}}, "split: data.split_seed is 0 and 7 in one"),
        ({"epochs": 5}, "budget: epochs is 3 and 5 in one table"),
        ({"searches": 9}, "budget: search.trials is 4 and 9 in one table"),
        ({"backbone": {"name": "wrn", "depth": 10, "width": 1}}, "backbone: resnet-8 .* and wrn-10-1 in one table"),
        ({}, "cell baseline: several trials of one seed; they differ in nothing that is on record"),
    ],
)
def test_mixtures_are_refused_by_name(other, message):
    with pytest.raises(MixError, match=message):
        ablation(both(**other), "arm")


def test_what_is_rows_or_columns_may_differ():
    grid = ablation(both(data={"name": "digits", "label_noise": 0.2}), "arm", "data.label_noise")
    assert grid.header == ("arm", "0.4", "0.2")


def test_a_cell_does_not_average_two_settings_of_the_method_on_other_seeds():
    other = made_up(loss={"temperature": 2.0})
    other = Results(other.study, other.trials.assign(seed=other.trials["seed"] + 100), other.epochs)
    with pytest.raises(MixError, match=r"cell baseline: loss\.temperature is 1\.0 and 2\.0"):
        ablation(collect([made_up(), other]).trials, "arm")


def test_unequal_seeds_are_refused_and_shared_seeds_says_what_it_drops():
    full = trials()
    gap = full[~((full["arm"] == "ds") & (full["seed"] == 3))]
    with pytest.raises(MixError, match=r"seeds: baseline has \[0, 1, 2, 3, 4, 5\], ds has \[0, 1, 2, 4, 5\]"):
        ablation(gap, "arm")
    kept, notes = shared_seeds(gap, "arm")
    assert set(ablation_cells(kept, "arm")["n"]) == {5}
    assert notes == ("Left out (digits, resnet-8 (base_channels 4)): seeds 3, which some cell lacks.",)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("status", "diverged", "status: 1 trials are not complete, baseline-confirm-0 for one"),
        ("phase", "search", "phase: 1 trials are not confirm, baseline-confirm-0 for one"),
        ("epochs", 1, "budget: 1 trials ran fewer epochs than planned, baseline-confirm-0 for one"),
    ],
)
def test_trials_without_a_full_result_are_refused(column, value, message):
    bad = trials()
    bad.loc[bad.index[0], column] = value
    with pytest.raises(MixError, match=message):
        ablation(bad, "arm")


def test_collect_leaves_out_and_says_so():
    results = made_up()
    found = results.trials
    at = found.index[(found["phase"] == "confirm") & (found["arm"] == "ds")]
    found.loc[at[0], ["status", "error"]] = ["diverged", "not finite"]
    found.loc[at[1], "epochs"] = 1
    collected = collect([results])
    assert collected.left_out == ("ds-confirm-0 diverged: not finite", "ds-confirm-1 complete: only 1 of 3 epochs")
    assert len(collected.trials) == 16
    assert set(collected.trials["phase"]) == {"confirm"}


def test_a_study_without_trials_collects_nothing():
    results = made_up()
    nothing = Results(results.study, pd.DataFrame(), pd.DataFrame())
    assert collect([nothing]).left_out == ("no trial has ended.",)
    with pytest.raises(ValueError, match="nothing to show"):
        ablation(collect([nothing]).trials, "arm")


def test_an_unknown_column_is_named():
    with pytest.raises(ValueError, match=r"no column loss\.nothing"):
        ablation(trials(), "loss.nothing")


def test_searched_integers_and_choices_come_back_from_parquet_as_they_were():
    results = made_up()
    values = results.study.model_dump(mode="json", by_alias=True, exclude_unset=True)
    values["search"]["axes"] = {
        "optimiser.batch_size": {"int": [128, 512], "arms": ["dense"]},
        "loss.detach_teacher": {"choice": [True, False], "arms": ["dense"]},
    }
    study = StudySpec.model_validate(values, strict=False)
    found = results.trials.assign(**{"setting/optimiser.batch_size": np.nan, "setting/loss.detach_teacher": None})
    dense = found["arm"] == "dense"
    found.loc[dense, "setting/optimiser.batch_size"] = 256.0
    found.loc[dense, "setting/loss.detach_teacher"] = False
    trials = collect([Results(study, found, results.epochs)]).trials
    assert set(trials.loc[trials["arm"] == "dense", "optimiser.batch_size"]) == {256}
    assert set(trials.loc[trials["arm"] == "dense", "loss.detach_teacher"]) == {"no"}


def test_auto_and_the_recipe_that_it_comes_to_are_one():
    frame = both(branches={"taps": ["stage1", "stage2"], "recipe": "paper"})
    assert set(frame.loc[frame["arm"] == "dense", "branches.recipe"]) == {"paper"}
