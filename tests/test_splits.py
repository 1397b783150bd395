"""Report seeds that are spread over several splits of the data."""

import random

import numpy as np
import pytest
from made_up import made_up
from played import play
from scipy import stats
from studies import small_study

from dks_study.analysis.statistics.estimands import effect_of_splits
from dks_study.analysis.tables.comparisons import comparisons
from dks_study.analysis.tables.study import arm_table, to_markdown
from dks_study.describing import print_plan
from dks_study.spec.data import DIGITS, DIGITS_TEST, DataSpec
from dks_study.spec.files import changed_study
from dks_study.spec.yamldoc import SpecError
from dks_study.study.began_with import data_of
from dks_study.study.cell import Cell
from dks_study.study.planner import trial_of
from dks_study.study.results import Results
from dks_study.study.sealing import changes, plan_of
from dks_study.training.data import load

SEEDS = tuple(range(8))
STUDY = small_study(trials=0, report_seeds=SEEDS)
SPLIT = changed_study(STUDY, ["splits=4"])


def cells(study):
    return [record.cell for record in play(study, random.Random(0), 1)]


def split_of(study, cell):
    return trial_of(study, cell).data.split_seed


def test_arms_share_the_split_of_a_seed_and_seeds_go_round():
    found = {(cell.arm, cell.index): split_of(SPLIT, cell) for cell in cells(SPLIT)}
    assert found == {(arm, index): index % 4 for arm in SPLIT.arms for index in range(8)}


def test_one_split_is_the_study_that_it_was():
    assert changed_study(STUDY, ["splits=1"]).content_hash() == STUDY.content_hash()
    assert "splits" not in STUDY.hashed()
    assert "splits" not in plan_of(STUDY).fields
    first = Cell("dense", "confirm", 0, 0, 2, {})
    assert trial_of(STUDY, first) == trial_of(SPLIT, first), "a trial on the first split is the same trial"
    assert SPLIT.content_hash() != STUDY.content_hash()


def test_a_trial_says_by_itself_which_split_it_has_and_its_images_are_others():
    parts = [load(data) for data in data_of(SPLIT)[:2]]
    assert [spec.split_seed for spec in data_of(SPLIT)] == [0, 1, 2, 3] * 3
    assert not parts[0].test.images.equal(parts[1].test.images), "digits are one pool"
    assert len(parts[0].test) == DIGITS_TEST
    counted = DIGITS_TEST / len(parts[0].train)
    assert SPLIT.trial.data.test_to_training == pytest.approx(counted)
    assert sum(map(len, (parts[0].train, parts[0].validation, parts[0].test))) == DIGITS


@pytest.mark.parametrize("thin", [{"train_images": 300}, {"imbalance": 5.0}])
def test_thinned_training_images_are_counted_as_they_are(thin):
    spec = DataSpec(name="digits", **thin)
    assert spec.test_to_training == pytest.approx(DIGITS_TEST / len(load(spec).train), rel=0.05)
    assert DataSpec(name="cifar10", root="none").test_to_training is None, "its test images are fixed"


def test_each_search_sees_the_split_of_its_report_seeds():
    search = "search={trials: 2, repeats: 4, seed: 99, axes: {optimiser.lr: {float: [0.01, 0.2], log: true}}}"
    study = changed_study(small_study(trials=0, report_seeds=SEEDS), [search, "splits=2"])
    for cell in cells(study):
        assert (
            split_of(study, cell) == cell.repeat % 2 == (cell.index % 2 if cell.phase == "confirm" else cell.repeat % 2)
        )


def test_the_corrected_resampled_t_test_by_hand():
    """Means 1, 2, 4, 5 of two seeds each: mean 3, variance between 10/3, times 1/4 + 0.5."""
    differences, splits = [0.5, 1.5, 3.5, 5.5, 1.5, 2.5, 4.5, 4.5], [0, 1, 2, 3] * 2
    found = effect_of_splits(differences, splits, 0.5, searched=False).settings
    assert (found.freedom, found.method) == (3, "splits")
    assert found.standard_error == pytest.approx(np.sqrt(0.75 * 10 / 3))
    assert found.p == pytest.approx(2 * stats.t.sf(3 / np.sqrt(2.5), 3))
    assert found.high == pytest.approx(3 + stats.t.ppf(0.975, 3) * np.sqrt(2.5))
    fixed = effect_of_splits(differences, splits, 0.0, searched=True)
    assert fixed.settings is None
    assert fixed.procedure.standard_error == pytest.approx(np.sqrt(10 / 3 / 4))
    with pytest.raises(ValueError, match="two splits or more"):
        effect_of_splits([1.0, 2.0], [0, 0], 0.5, searched=False)


def made(splits, *overrides):
    results = made_up(seeds=8, searches=0, noise=1.0)
    return Results(changed_study(results.study, [f"splits={splits}", *overrides]), results.trials, results.epochs)


def test_the_table_stands_on_the_means_of_the_splits_and_says_so():
    results = made(4)
    line = comparisons(results).set_index("arm").loc["dense"]
    assert (line["method"], line["freedom"], line["n"], line["estimand"]) == ("splits", 3, 8, "settings")
    assert np.isnan(line["p_wilcoxon"])
    text = to_markdown(arm_table(results))
    assert "8 report seeds spread over 4 splits of the data" in text
    ratio = f"{results.study.trial.data.test_to_training:.2f}"
    assert f"(variance x (1/4 + {ratio}), as they share training images: Nadeau and Bengio 2003)" in text
    assert "sign-flip" not in text
    assert "Warning" not in text


@pytest.mark.slow  # half a second of arithmetic
def test_few_splits_are_warned_of_and_a_margin_has_no_number_of_seeds():
    text = to_markdown(arm_table(made(2, "table.margin=0.2")))
    assert "Warning: 2 splits of the data bound an effect badly (1 degree of freedom): use 4 or more." in text
    assert "cannot tell |" in text
    assert "(n =" not in text


def test_pairs_of_one_split_alone_are_not_compared():
    results = made(4)
    first = results.trials[results.trials["seed"].isin([0, 4])]
    assert not len(comparisons(Results(results.study, first, results.epochs)))


def test_the_plan_says_what_splits_cost(tmp_path, capsys):
    assert print_plan(SPLIT, tmp_path / "small") == 0
    out = capsys.readouterr().out
    wider = np.sqrt(1 + 4 * SPLIT.trial.data.test_to_training)
    assert "4 splits of the data, 2 report seeds on each: an interval stands on 3 degrees of freedom, and is" in out
    assert f"{wider:.2f} times as wide as if the splits shared no training images" in out
    assert changes(plan_of(STUDY), plan_of(SPLIT)) == "4 splits of the data in place of 1"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["splits=3"], "splits: must divide the number of report seeds (8), got 3"),
        (["splits=0"], "splits"),
        (["splits=2", "table.looks={first: 4}"], "splits: must be left out with table.looks, got 2"),
        (
            ["splits=2", "search={trials: 2, seed: 99, axes: {optimiser.lr: {float: [0.01, 0.2]}}}"],
            "search.repeats: must be a multiple of splits (2): each search sees one of them, got 1",
        ),
        (["arms.dense={data.split_seed: 3}"], "arms.dense.data.split_seed: must be the same in the whole study"),
    ],
)
def test_splits_that_do_not_fit_are_refused_in_one_line(overrides, told):
    with pytest.raises(SpecError) as refused:
        changed_study(STUDY, overrides)
    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
