"""Arms that train as long as others take: the seconds are those of an earlier study, read once, and stay."""

import json
import shutil

import pandas as pd
import pytest
from made_tuned import tuned
from made_up import made_up, write
from pages import ROOT
from studies import small_study

from dks_study.analysis.tables.costs import arm_costs
from dks_study.analysis.tables.study import arm_table, to_markdown
from dks_study.cli import main
from dks_study.spec.files import changed_study, load_study
from dks_study.spec.matching import MatchSpec
from dks_study.spec.study import StudySpec
from dks_study.spec.telling import matches_in_words
from dks_study.studies import run
from dks_study.study.matching import MatchError, matched
from dks_study.study.results import Results, load_results

KEPT = ROOT / "analysis" / "results" / "controls"
LONG = {"branches.taps": [], "loss.pairing": "none"}


def with_long(study, folder, **match):
    """`study` and an arm that trains as long as `dense` takes."""
    values = study.model_dump(mode="json", by_alias=True, exclude_unset=True)
    values["arms"]["long"] = {**LONG, "epochs": {"match": "dense", "by": "time", "measured": str(folder), **match}}
    return StudySpec.model_validate_json(json.dumps(values))


@pytest.fixture
def earlier(tmp_path):
    """Epochs of `dense` took 2 s there, those of `baseline` 1 s, and the first of each trial 9 s."""
    return write(tmp_path / "earlier", made_up(searches=0, epochs=3))


def test_epochs_follow_from_the_seconds_of_the_other_study_and_stay_without_it(earlier):
    asked = with_long(made_up(searches=0).study, earlier)
    study, name = matched(asked), f"small-{load_results(earlier).study.content_hash()}"
    assert study.matches["long"] == MatchSpec(match="dense", by="time", measured=name, seconds=(1.0, 2.0))
    assert study.epochs_of("long", {}, search=False) == 2 * study.trial.epochs
    assert matches_in_words(study) == [
        f"long: 6 epochs cost what 3 epochs of dense do (1 s and 2 s an epoch, measured in {name}, x 2, rounded up)"
    ]
    assert matched(asked) == study, "read again it is the same"
    shutil.copytree(earlier, elsewhere := earlier.parent / "elsewhere")
    assert matched(with_long(asked, elsewhere)).content_hash() == study.content_hash(), "wherever the folder is"
    shutil.rmtree(earlier)
    again = StudySpec.model_validate_json(json.dumps(study.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    assert matched(again) == study, "nothing is read again"
    grown = changed_study(study, ["report_seeds=[0, 1, 2, 3, 4, 5, 6]"])
    assert matched(grown).epochs_of("long", {}, search=False) == 6


def test_seconds_may_be_given_by_hand_and_are_taken_as_they_are_written():
    study = matched(with_long(made_up(searches=0).study, "x", measured=None, seconds=[0.1, 0.3]))
    assert study.epochs_of("long", {}, search=False) == 9, "three times as long, not a rounding more"
    assert matches_in_words(study)[0].endswith("(0.1 s and 0.3 s an epoch, as given, x 3, rounded up)")


def test_arms_are_told_by_what_they_train_and_take_what_the_table_of_costs_says():
    arm = f"arms.long={{branches.taps: [], loss.pairing: none, epochs: {{match: dense, by: time, measured: '{KEPT}'}}}}"
    study = matched(load_study("dense_vs_oneway", None, [arm]))
    costs = arm_costs(load_results(KEPT)).set_index("arm")["epoch_s"]
    found = [costs[f"{row} (as written)"] for row in ("baseline", "dks")]  # what is dense here is dks there
    assert study.matches["long"].seconds == pytest.approx(found, abs=1e-6)


def test_of_tuned_arms_those_as_written_count(tmp_path):
    made = tuned(seeds=4, repeats=2)
    written = made.trials.loc[made.trials["choice"] == "written", "trial"]
    seconds = made.epochs["trial"].isin(written).map({True: 4.0, False: 1.0})
    seconds = seconds.where(made.epochs["arm"] != "baseline", seconds / 2)
    folder = write(
        tmp_path / "tuned", Results(made.study, made.trials, made.epochs.assign(**{"time/train_s": seconds}))
    )
    assert matched(with_long(made.study, folder)).matches["long"].seconds == (2.0, 4.0)


def lost(trials, arm="dense"):
    return trials.assign(status=trials["status"].where((trials["arm"] != arm) | (trials["seed"] != 4), "failed"))


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda found: (found.study, lost(found.trials), found.epochs), "must be of a study that has confirmed dense"),
        (lambda found: (found.study, lost(found.trials), found.epochs), "EARLIER', which lacks 4"),
        (
            lambda found: (found.study, found.trials[found.trials["arm"] != "baseline"], found.epochs),
            "must be of a study that has confirmed baseline as written with all its seeds, got 'EARLIER', which lacks",
        ),
        (lambda found: (found.study, pd.DataFrame(), pd.DataFrame()), "EARLIER', which lacks 0, 1, 2, 3, 4, 5"),
        (
            lambda found: (changed_study(found.study, ["trial.optimiser.lr=0.3"]), found.trials, found.epochs),
            "must be of a study that trains long as it is written here, but for its epochs (it has base",
        ),
    ],
)  # fmt: skip
def test_what_the_other_study_lacks_is_named_in_one_line(earlier, spoil, line):
    study = with_long(load_results(earlier).study, earlier)
    write(earlier, Results(*spoil(load_results(earlier))))
    with pytest.raises(MatchError) as error:
        matched(study)
    assert str(error.value).startswith("arms.long.epochs.measured: ")
    assert line.replace("EARLIER", str(earlier)) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_results_is_refused_by_the_command(tmp_path, capsys):
    arm = f"arms.long={{branches.taps: [], epochs: {{match: dense, by: time, measured: '{tmp_path}'}}}}"
    assert main(["--space", "dense_vs_oneway", "--set", arm, "--dry-run", "--results", str(tmp_path / "r")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dks-study: arms.long.epochs.measured: {tmp_path}: not the results of a study: ")


@pytest.mark.slow
def test_a_study_trains_as_long_as_an_earlier_one_took_and_goes_on_when_that_is_gone(tmp_path):
    first = run(small_study(trials=0, arms=("baseline", "dense"), report_seeds=(0,)), tmp_path)
    asked = with_long(small_study(trials=0, arms=("baseline", "dense"), report_seeds=(0, 1)), first.folder)
    study = matched(asked)
    done = run(study, tmp_path)
    long = done.trials[done.trials["arm"] == "long"]
    assert set(long["epochs"]) == {study.epochs_of("long", {}, search=False)}
    assert (done.trials["status"] == "complete").all()
    report = (done.folder / "report.html").read_text(encoding="utf-8")
    assert "Matched in cost, long: " in report
    assert f"measured in {first.folder.name}, x " in report
    shutil.rmtree(first.folder)
    assert matched(done.study) == done.study == study, "its own description has what was measured"
    assert run(matched(done.study), tmp_path).folder == done.folder


def test_the_table_says_what_was_matched_and_where_it_was_measured(earlier):
    study, made = matched(with_long(made_up(searches=0).study, earlier)), made_up(searches=0)
    long = made.trials[made.trials["arm"] == "baseline"].replace("baseline", "long").assign(epochs=6)
    long["trial"] = long["trial"] + "-long"
    text = to_markdown(arm_table(Results(study, pd.concat([made.trials, long], ignore_index=True), made.epochs)))
    assert f"Matched in cost, {matches_in_words(study)[0]}." in text
    assert "Left out: nothing." in text
