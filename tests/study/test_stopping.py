"""Early stopping, held against verdicts worked out by hand."""

import json
import random
from dataclasses import asdict

import pytest
import torch
from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.spec.search import EarlyStoppingSpec
from dks_study.spec.study import StudySpec, arm_trial
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome, read_epochs, read_outcome
from dks_study.study.planner import Planner
from dks_study.study.search import optuna_suggest
from dks_study.study.stopping import Watch, brackets, rungs, watch
from dks_study.study.trial import run_trial

# Six trials of nine epochs; 2 and 4 were stopped.
OTHERS = {
    0: [50, 60, 62, 64, 66, 68, 70, 72, 74],
    1: [40, 58, 66, 70, 72, 74, 76, 78, 80],
    2: [30],
    3: [52, 55, 70, 71, 72, 73, 74, 75, 76],
    4: [45, 50, 55],
    5: [60, 61, 62, 63, 64, 65, 66, 67, 68],
}


def told(kind, index=6, metric=ACCURACY, others=OTHERS, **keys):
    return watch(EarlyStoppingSpec(kind=kind, **keys), metric, 9, index, others)


def test_no_rule_no_bars():
    assert told("none").bars == ()


def test_asha_keeps_the_best_third_at_each_rung():
    # After epoch 1: 60 52 50 45 40 30 and the newcomer, 7 in all, 2 are kept: the second best of the others is the bar.
    # After epoch 3: 70 66 62 62 55, 6 in all, again 2.
    assert told("asha").bars == ((1, 52), (3, 66))
    assert told("asha", grace_epochs=2, reduction=2).bars == ((2, 58), (4, 70), (8, 75))  # 3 of 6, 2 of 5, 2 of 5
    assert told("asha", others={}).bars == (), "the first is compared with nothing"
    assert told("asha", others={0: OTHERS[0]}).bars == ((1, 50), (3, 62)), "the second must be as good as the first"


def test_the_median_rule_compares_bests_so_far():
    bars = dict(told("median", grace_epochs=2).bars)
    assert bars[2] == 58  # of 60, 58, 55, 50, 61
    assert bars[3] == 62  # of 62, 66, 70, 55, 62
    assert bars[8] == pytest.approx((72 + 75) / 2)  # of 72, 78, 75, 67
    assert min(bars) == 2
    assert told("median", others={0: OTHERS[0], 1: OTHERS[1]}).bars == (), "two are no median to stop anything by"


def test_hyperband_spreads_trials_over_brackets():
    rule = EarlyStoppingSpec(kind="hyperband")
    assert (brackets(rule, 9), rungs(1, 3, 9), rungs(3, 3, 9)) == (2, [1, 3], [3])
    # Bracket 0 (even trials): 50 30 45 after epoch 1, 4 in all, 1 is kept; 62 55 after epoch 3.
    assert told("hyperband", index=6).bars == ((1, 50), (3, 62))
    # Bracket 1 (odd trials) begins at epoch 3: 66 70 62, 4 in all, 1 is kept.
    assert told("hyperband", index=7).bars == ((3, 70),)


def test_a_loss_is_stopped_from_above():
    others = {0: [2.0, 1.0, 0.5], 1: [3.0, 2.0, 1.0]}
    found = told("asha", metric="val/loss/main", others=others)
    assert found.bars == ((1, 2.0), (3, 0.5))
    assert found.verdict([2.1]) == "after epoch 1: val/loss/main 2.1, the bar is 2"
    assert found.verdict([2.0]) is None


def test_a_verdict_takes_the_value_of_the_epoch_or_the_best_so_far():
    assert Watch(ACCURACY, ((2, 50.0),)).verdict([55.0, 49.0]) is not None
    assert Watch(ACCURACY, ((2, 50.0),), best_so_far=True).verdict([55.0, 49.0]) is None
    assert Watch(ACCURACY, ((2, 50.0),)).verdict([10.0]) is None, "there is no bar after epoch 1"
    assert Watch(ACCURACY, ((2, 50.0),)).verdict([10.0, 50.0]) is None, "as good is good enough"


def with_rule(kind="asha", trials=9, parallel=1, epochs=9):
    study = small_study(trials=trials, parallel=parallel, arms=("ds", "dense")).model_dump(mode="json", by_alias=True)
    study["search"] |= {"epochs": epochs, "early_stopping": {"kind": kind}}
    return StudySpec.model_validate_json(json.dumps(study))


def steps_of(cell):
    lr = cell.setting["optimiser.lr"]
    return [100 * lr * epoch + random.Random(cell.id).random() for epoch in range(1, cell.epochs + 1)]


def end_of(planner, cell):
    """Train `cell` in thought, as a trial would."""
    steps, told = [], planner.watch(cell)
    for value in steps_of(cell):
        steps.append(value)
        if told and (why := told.verdict(steps)):
            return Outcome("stopped", {ACCURACY: value}, why, steps)
    return Outcome("complete", {ACCURACY: steps[-1]}, None, steps)


@pytest.mark.parametrize("kind", ["asha", "median", "hyperband"])
def test_arms_stop_alike_and_the_best_is_confirmed(kind):
    study = with_rule(kind)
    planner, ended = Planner(study, optuna_suggest(study)), {}
    while isinstance(cell := planner.next(), Cell):
        ended[cell.id] = (cell, end_of(planner, cell))
        planner.settle(cell.id, ended[cell.id][1])
    for arm in study.arms:
        searched = [outcome for cell, outcome in ended.values() if (cell.arm, cell.phase) == (arm, "search")]
        assert len(searched) == 9, "a stopped trial takes its slot"
        complete = [outcome.metrics[ACCURACY] for outcome in searched if outcome.status == "complete"]
        assert 0 < len(complete) < 9
        assert max(complete) == max(outcome.metrics[ACCURACY] for outcome in searched)
        confirmed = [outcome for cell, outcome in ended.values() if (cell.arm, cell.phase) == (arm, "confirm")]
        assert {outcome.status for outcome in confirmed} == {"complete"}, "a confirmation is never stopped"


def test_what_runs_beside_a_trial_does_not_count():
    study = with_rule(trials=4, parallel=2)
    planner, cells = Planner(study, optuna_suggest(study)), []
    for _ in range(4):
        cells.append(planner.next())
    assert [(c.arm, c.index) for c in cells] == [("ds", 0), ("dense", 0), ("ds", 1), ("dense", 1)]
    planner.settle("ds-search-0", Outcome("complete", {ACCURACY: 90.0}, None, [90.0] * 9))
    assert planner.watch(cells[2]).bars == ()
    planner.settle("ds-search-1", Outcome("complete", {ACCURACY: 80.0}, None, [80.0] * 9))
    third = planner.next()
    assert (third.arm, third.index, planner.watch(third).bars) == ("ds", 2, ((1, 90.0), (3, 90.0)))


class CrashError(Exception):
    """Stands for whatever kills a process."""


def trial(epochs=3):
    return arm_trial(small_study(trials=0), "dense", {}, epochs=epochs, phase="search", seed=99)


def train(folder, told, crash_after=None):
    seen = []

    def report(metrics):
        seen.append(metrics["epoch"])
        if len(seen) == crash_after:
            raise CrashError

    run_trial(trial(), folder, torch.device("cpu"), report, told)
    return seen


def test_a_trial_stops_itself_and_says_at_which_epoch(tmp_path):
    assert train(tmp_path / "a", Watch(ACCURACY, ((2, 101.0),))) == [1, 2]
    outcome = read_outcome(tmp_path / "a")
    assert (outcome.status, len(outcome.steps), outcome.lost) == ("stopped", 2, False)
    assert outcome.error.startswith("after epoch 2: val/top1/main ")
    assert [line[ACCURACY] for line in read_epochs(tmp_path / "a")] == outcome.steps
    assert train(tmp_path / "b", Watch(ACCURACY, ((2, 0.0),))) == [1, 2, 3]
    whole = read_outcome(tmp_path / "b")
    assert (whole.status, whole.steps[:2]) == ("complete", outcome.steps)
    assert "cost/macs_train" not in whole.metrics


def test_a_crash_between_the_epoch_and_the_outcome_trains_nothing_more(tmp_path):
    with pytest.raises(CrashError):
        train(tmp_path, Watch(ACCURACY, ((2, 101.0),)), crash_after=2)
    assert read_outcome(tmp_path) is None
    assert train(tmp_path, Watch(ACCURACY, ((2, 101.0),))) == [2], "Tune waits for one report"
    assert (read_outcome(tmp_path).status, len(read_outcome(tmp_path).steps)) == ("stopped", 2)


def test_costs_are_counted_in_a_search_that_aims_at_them(tmp_path):
    train(tmp_path, Watch(None, costs=True))
    outcome = read_outcome(tmp_path)
    assert outcome.metrics["cost/macs_train"] > outcome.metrics["cost/macs_inference"] > 0
    assert (outcome.steps, [key for key in outcome.metrics if "test" in key]) == ([], [])


def test_a_watch_survives_its_way_to_the_trial():
    told = Watch(ACCURACY, ((2, 50.0), (6, 60.0)), best_so_far=True)
    assert Watch.read(json.loads(json.dumps(asdict(told)))) == told
