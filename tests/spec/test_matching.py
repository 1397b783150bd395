"""An arm that trains as long as another costs: what it may match, how long it gets, and what stays as it was."""

import json

import pytest

from dks_study.cli import main
from dks_study.spec.files import changed_study, load_study
from dks_study.spec.matching import MatchSpec
from dks_study.spec.space import arm_space
from dks_study.spec.study import StudySpec, arm_trial
from dks_study.spec.telling import matches_in_words
from dks_study.spec.yamldoc import SpecError
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.study.matching import matched
from dks_study.study.planner import Planner, Step, trial_of
from dks_study.watch.mlflow_runs import described
from dks_study.watch.progress import mean_epochs

MATCH = "{branches.taps: [], loss.pairing: none, epochs: {match: dense, by: macs}}"
COUNTED = {"match": "dense", "by": "macs", "macs": [4, 10]}


def with_match(*overrides, match=MATCH):
    return load_study("dense_vs_oneway", None, [f"arms.long={match}", *overrides])


def counted(study, macs=(4, 10)):
    arms = {**study.arms, "long": {**study.arms["long"], "epochs": {**COUNTED, "macs": list(macs)}}}
    return study.model_copy(update={"arms": arms})


@pytest.mark.parametrize(
    ("of_other", "macs", "epochs"), [(10, (4, 10), 25), (10, (3, 10), 34), (4, (10, 10), 4), (10, (10, 3), 3)]
)
def test_epochs_cost_at_least_as_much_as_the_other_s_rounded_up(of_other, macs, epochs):
    found = MatchSpec(match="dense", by="macs", macs=macs).epochs(of_other)
    assert found == epochs
    assert (found - 1) * macs[0] < of_other * macs[1] <= found * macs[0]


def test_the_costs_are_counted_on_the_networks_and_the_plan_tells_them(capsys, tmp_path):
    study = matched(with_match("search.trials=0"))
    own, other = study.matches["long"].macs
    assert own < other
    assert study.epochs_of("long", {}, search=False) == -(-10 * other // own)
    assert study.epochs_of("dense", {}, search=False) == 10
    assert matched(study) == study, "counted anew it is the same"
    words = ["--space", "dense_vs_oneway", "--set", f"arms.long={MATCH}", "--set", "search.trials=0"]
    assert main([*words, "--dry-run", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert matches_in_words(study)[0] in out
    assert f"{study.epochs_of('long', {}, search=False)} at most in each" in out
    assert study.content_hash() in out


def test_a_trial_has_the_number_of_epochs_and_nothing_else_of_it():
    study = counted(with_match("search.trials=0"))
    planner, seen = Planner(study, lambda *_: {}), {}
    while (cell := planner.next()) is not Step.DONE:
        seen[cell.arm] = trial_of(study, cell)
        planner.settle(cell.id, Outcome("complete", {"val/top1/main": 1.0}))
    assert (seen["long"].epochs, seen["dense"].epochs, seen["baseline"].epochs) == (25, 10, 10)
    same = arm_trial(study, "baseline", {}, epochs=25, phase="confirm", seed=seen["long"].seed)
    assert seen["long"] == same, "a baseline of 25 epochs"


def test_where_the_length_is_searched_the_choice_is_stretched():
    study = counted(with_match())
    assert arm_space(study, "long").completed({})["epochs"] == 10, "in the epochs of the whole study"
    assert arm_space(study, "long").axes.keys() == arm_space(study, "baseline").axes.keys()
    assert study.epochs_of("long", {"epochs": 6}, search=True) == 15
    plan = {"search": 24, "race": 24, "confirm": 16}
    once, stretched = (mean_epochs(study, arm, plan) for arm in ("dense", "long"))
    assert stretched == {phase: 2.5 * mean for phase, mean in once.items()}


def test_counts_stay_with_a_study_that_is_read_again_and_others_change_its_hash():
    study = counted(with_match())
    again = StudySpec.model_validate_json(json.dumps(study.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    assert again == study
    assert again.content_hash() == study.content_hash() != counted(study, (4, 11)).content_hash()
    assert changed_study(study, ["report_seeds=[0, 1, 2, 3]"]).epochs_of("long", {}, search=False) == 25


def test_before_they_are_counted_no_trial_is_planned():
    with pytest.raises(ValueError, match="known once its cost is counted, or read"):
        with_match().epochs_of("long", {}, search=False)


@pytest.mark.parametrize(
    ("match", "more", "line"),
    [
        ("{epochs: {match: dense, by: hours}}", [], "arms.long.epochs: must be the same in the whole study (trial."),
        ("{epochs: {match: dense, by: time}}", [], "arms.long.epochs.measured: must name the folder of an ear"),
        ("{epochs: {match: dense, by: time, measured: 7}}", [], "measured: must be the folder or the bundle of a"),
        ("{epochs: {match: dense, by: time, measured: ''}}", [], 'bundle of a study, got ""'),
        ("{epochs: {match: dense, by: time, seconds: [1, 0]}}", [], "seconds: must be two numbers from 1e-6 to 1e6:"),
        ("{epochs: {match: dense, by: time, seconds: [1]}}", [], "other one, got [1]"),
        ("{epochs: {match: dense, by: time, seconds: 3}}", [], "arms.long.epochs.seconds: must be"),
        ("{epochs: {match: dense, by: time, seconds: [1, 2], macs: [1, 2]}}", [], "by time, got [1, 2]"),
        ("{epochs: {match: dense, by: macs, seconds: [1, 2]}}", [], "s.seconds: must be left out with by macs, got [1"),
        ("{epochs: {match: dense, by: macs, measured: r}}", [], 'd: must be left out with by macs, got "r"'),
        ("{epochs: {match: dense}}", [], 'or {match: ARM, by: macs}, or by time, got {"match": "dense"}'),
        ("{epochs: 7}", [], "or {match: ARM, by: macs}, or by time, got 7"),
        ("{epochs: [7]}", [], "or {match: ARM, by: macs}, or by time, got [7]"),
        ("{epochs: {match: nobody, by: macs}}", [], "arms.long.epochs.match: must be an arm with epochs of the whole"),
        ("{epochs: {match: long, by: macs}}", [], "arms.long.epochs.match: must be an arm with epochs of the whole"),
        (MATCH, ["arms.longer={epochs: {match: long, by: macs}}"], "arms.longer.epochs.match: must be an arm with"),
        ("{epochs.match: dense, epochs.by: macs}", [], "arms.long.epochs.match: must be the same in the whole study"),
        (
            MATCH,
            ["search.axes.loss.temperature={choice: [1.0, 2.0]}", "search.as_arms=[loss.temperature]"],
            "search.as_arms: must be left out where an arm matches the cost of another (long)",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_matched_is_refused_in_one_line(match, more, line):
    with pytest.raises(SpecError) as error:
        with_match(*more, match=match)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_shown_of_a_trial_has_the_epochs_that_it_trains():
    study = counted(with_match())
    cell = Cell("long", "search", 3, 1000, 15, {"epochs": 6, "optimiser.lr": 0.2})
    shown = described(study, cell)
    assert shown["epochs"] == 15
    assert shown["optimiser.lr"] == 0.2
    assert matches_in_words(study) == [
        "long: 25 epochs cost what 10 epochs of dense do (multiply-accumulates, x 2.5, rounded up);"
        " lengths that it searches are stretched alike"
    ]
