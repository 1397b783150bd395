"""Tables of arms with other seeds: decided early, or with trials that were lost."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from looking_studies import looking as looking_study
from looking_studies import results_of
from made_tuned import tuned
from made_up import made_up, write

from dks_study.analysis.report import prose
from dks_study.analysis.report.page import write_report
from dks_study.analysis.rows import arm_of
from dks_study.analysis.tables.comparisons import comparisons, lowest, not_told_apart
from dks_study.analysis.tables.costs import arm_costs
from dks_study.analysis.tables.plans import looked
from dks_study.analysis.tables.study import arm_table, to_markdown
from dks_study.spec.files import changed_study
from dks_study.study.deciding import growth
from dks_study.study.results import Results


def without(results, arm, seeds, phase="confirm"):
    """Return results in which an arm's trials with some seeds were lost."""
    trials = results.trials.copy()
    mine = (trials["arm"] == arm) & (trials["phase"] == phase) & trials["seed"].isin(seeds)
    trials.loc[mine, "status"] = "failed"
    return replace(results, trials=trials)


def test_an_arm_that_cannot_be_compared_yet_is_not_decided(tmp_path):
    """One pair is left after a first look at two; it goes on, as every arm does that is not told from anything."""
    results = results_of(tmp_path, looking_study(first=2, every=2), {"ds-confirm-seed0"})
    text = to_markdown(arm_table(results))
    assert comparisons(results).set_index("arm")["n"]["ds"] == 11
    assert "Undecided at the maximum: ds." in text
    errors = {"baseline": {0: 20.0, 1: 20.5}, "ds": {0: None, 1: 20.0}, "dense": {0: 10.0, 1: None}}
    assert growth(results.study, errors).seeds == {"baseline": 12, "ds": 12, "dense": 12}


def test_looks_are_counted_by_seeds_that_were_reached_and_not_by_pairs_that_are_left(tmp_path):
    results = results_of(tmp_path, looking_study(), {"baseline-confirm-seed7"})
    (said,) = looked(results, comparisons(results))
    assert "4 looks, after 6, 8, 10, 12 of at most 12 report seeds" in said
    assert "Undecided at the maximum: ds." in said


EARLY = pd.DataFrame(
    {
        "base": [12.0, 11, 13, 12, 13, 11, 30, 31, 32, 33],  # of later seeds, which are harder, ds has none
        "ds": [14.9, 14.1, 16.2, 15, 16, 14.05, None, None, None, None],
    }
)


def test_the_lowest_is_so_on_seeds_that_are_shared():
    assert EARLY.mean().idxmin() == "ds"
    assert lowest(EARLY) == "base"
    assert not_told_apart(EARLY, pd.Series(0, index=EARLY.index)) == ["base"]
    assert lowest(EARLY.dropna()) == "base"
    assert lowest(EARLY.assign(ds=EARLY["base"] - 0.1).iloc[:, ::-1]) == "ds"


def test_the_answer_names_what_is_best_on_shared_seeds():
    made = without(made_up(seeds=8), "baseline", range(4, 8))  # its seeds 0 to 3 have the lower errors
    made.trials.loc[made.trials["arm"] == "baseline", "test/top1/main"] += (
        9  # 11 % and more, against 12 % and more of dense
    )
    made = without(made, "ds", range(2, 8))
    text = prose.answer(arm_table(made))
    assert text.startswith(
        "Lowest mean test error, on the seeds that an arm shares with what it is compared with: base"
    )
    equal = prose.answer(arm_table(made_up(seeds=8)))
    assert equal.startswith("Lowest mean test error: dense with 15.")


def test_seeds_without_a_trial_and_races_that_were_lost_are_told():
    made = tuned(repeats=2)
    trials = made.trials
    gone = (trials["arm"] == "dense") & (trials["phase"] == "confirm") & (trials["repeat"] == 1)
    table = arm_table(replace(made, trials=trials[~(gone & (trials["row"] == "dense"))]))
    assert "Left out: dense: no trial with the report seeds 1, 3, 5, 7." in table.notes
    assert "Left out: nothing." not in table.notes


@pytest.mark.parametrize(("row", "arm"), [("dense#2", "dense"), ("a_1 (as written)", "a_1"), ("b, epoch chosen", "b")])
def test_rows_belong_to_arms(row, arm):
    assert arm_of(row) == arm


def test_splits_share_as_many_training_images_as_the_arms_that_are_compared():
    """It is the same training whether the trial says how many images it has, or every arm does."""
    made = made_up(seeds=8, searches=0, noise=1.0)
    written = changed_study(made.study, ["splits=4", "trial.data.train_images=135"])
    each = [f"arms.{arm}.data.train_images=135" for arm in made.study.arms]
    by_arm = changed_study(made.study, ["splits=4", *each])
    one, other = (comparisons(Results(study, made.trials, made.epochs)) for study in (written, by_arm))
    columns = ["low", "high", "p"]
    assert one[columns].to_numpy() == pytest.approx(other[columns].to_numpy())
    assert by_arm.test_to_training(["dense"]) == pytest.approx(450 / 135)
    mixed = changed_study(made.study, ["splits=4", each[-1]])
    assert mixed.test_to_training(["baseline", "dense"]) == pytest.approx(450 / 135)
    text = to_markdown(arm_table(Results(mixed, made.trials, made.epochs)))
    assert re.search(r"variance x \(1/4 \+ 0\.\d\d to 3\.33\)", text)


def test_a_validation_error_of_nothing_can_be_drawn(tmp_path):
    made = tuned()
    made.trials["val/top1/main"] = 100.0
    assert write_report(made, write(tmp_path, made)).stat().st_size > 0


def test_gpu_hours_are_of_the_races_too_and_of_no_search_as_written():
    made = tuned()
    study = changed_study(made.study, ["trial.resources.gpus_per_worker=1"])
    search = made.trials[(made.trials["arm"] == "dense") & (made.trials["phase"] == "search")]
    race = search.iloc[:1].assign(phase="race", trial="dense-race-0")
    epochs = made.epochs[made.epochs["trial"] == search["trial"].iloc[0]]
    took = epochs["time/train_s"].sum() / 3600
    raced = Results(
        study, pd.concat([made.trials, race]), pd.concat([made.epochs, epochs.assign(trial="dense-race-0")])
    )
    with_race, before = (arm_costs(each).set_index("arm")["gpu_hours"] for each in (raced, replace(made, study=study)))
    assert took > 0
    assert with_race["dense"] - before["dense"] == pytest.approx(took)
    written = made.trials[made.trials["row"] == "dense (as written)"]["trial"]
    alone = made.epochs[made.epochs["trial"].isin(written)]["time/train_s"].sum() / 3600
    assert with_race["dense (as written)"] == pytest.approx(alone)
