"""Early exits by hand: which share leaves where for a budget, thresholds from validation, what they bring on test."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import small_study

from dks_study.spec.study import arm_trial
from dks_study.training import trainer
from dks_study.training.cost import ExitCost
from dks_study.training.data import load
from dks_study.training.early_exits import (
    ALWAYS,
    NEVER,
    WAY,
    Answers,
    exit_metrics,
    leave_at,
    shares_for,
    thresholds_for,
)
from dks_study.training.team import Team
from dks_study.training.trainer import fit

HERE = Team.here(torch.device("cpu"))


def test_two_exits_share_a_budget_by_the_rule_of_the_lever():
    # 30 of [10, 50]: half way, so half leaves first; 20: a quarter of the way, so three quarters do.
    torch.testing.assert_close(shares_for([10.0, 50.0], 30.0), torch.tensor([0.5, 0.5], dtype=torch.float64))
    torch.testing.assert_close(shares_for([10.0, 50.0], 20.0), torch.tensor([0.75, 0.25], dtype=torch.float64))


def test_three_exits_share_a_budget_in_a_geometric_series():
    # MSDNet's q_k = z (1 - q)^(k-1) q with q = 1/2 is 4/7, 2/7, 1/7: with costs 7, 14, 28 a mean of 4 + 4 + 4 = 12.
    expected = torch.tensor([4, 2, 1], dtype=torch.float64) / 7
    torch.testing.assert_close(shares_for([7.0, 14.0, 28.0], 12.0), expected)


@pytest.mark.parametrize(("budget", "all_at"), [(0.0, 0), (7.0, 0), (28.0, 2), (99.0, 2)])
def test_a_budget_at_or_beyond_an_end_gives_that_exit_everything(budget, all_at):
    assert shares_for([7.0, 14.0, 28.0], budget).tolist() == [float(k == all_at) for k in range(3)]


COSTS = st.lists(st.floats(1.0, 1e9), min_size=2, max_size=6).map(sorted).filter(lambda c: c[-1] > 1.01 * c[0])


@settings(max_examples=60, deadline=None)
@given(COSTS, st.floats(0, 1))
def test_the_shares_cost_what_the_budget_says_and_are_a_geometric_series(costs, way):
    budget = costs[0] + way * (costs[-1] - costs[0])
    shares = shares_for(costs, budget)
    assert float(shares.sum()) == pytest.approx(1)
    assert float((shares * torch.tensor(costs, dtype=torch.float64)).sum()) == pytest.approx(budget, rel=1e-6)
    for k in range(1, len(costs) - 1):
        assert float(shares[k] ** 2) == pytest.approx(float(shares[k - 1] * shares[k + 1]), rel=1e-6, abs=1e-12)


CONFIDENCE = torch.tensor([[0.9, 0.5, 0.8, 0.4], [0.6, 0.7, 0.6, 0.5], [0.9, 0.9, 0.9, 0.9]])


def test_thresholds_by_hand():
    # A quarter leaves at the first exit: the image of 0.9; the surest that stays has 0.8. Half of all leaves at the
    # second: of 0.7, 0.6, 0.5 those of 0.7 and 0.6; the surest that stays has 0.5.
    thresholds = thresholds_for(CONFIDENCE, torch.tensor([0.25, 0.5, 0.25]))
    torch.testing.assert_close(thresholds, torch.tensor([0.8, 0.5, ALWAYS]))
    assert leave_at(CONFIDENCE, thresholds).tolist() == [0, 1, 1, 2]


def test_nothing_or_everything_leaves_where_the_share_says_so():
    assert thresholds_for(CONFIDENCE, torch.tensor([1.0, 0.0, 0.0])).tolist() == [ALWAYS, NEVER, ALWAYS]
    assert thresholds_for(CONFIDENCE, torch.tensor([0.0, 0.0, 1.0])).tolist() == [NEVER, NEVER, ALWAYS]
    sure = torch.ones(3, 4)
    assert leave_at(sure, torch.tensor([NEVER, NEVER, ALWAYS])).tolist() == [2, 2, 2, 2]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(1, 60), st.integers(0, 2**31 - 1))
def test_on_the_images_that_thresholds_come_from_the_shares_leave(exits, images, seed):
    random = torch.Generator().manual_seed(seed)
    confidence = torch.rand(exits, images, generator=random, dtype=torch.float64).clamp(min=1e-6)
    shares = torch.rand(exits, generator=random, dtype=torch.float64).softmax(0)
    left = leave_at(confidence, thresholds_for(confidence, shares))
    staying = images
    for k, share in enumerate(shares.tolist()):
        wanted = min(math.floor(share * images + 0.5), staying) if k < exits - 1 else staying
        assert int((left == k).sum()) == wanted
        staying -= wanted


def test_answers_are_the_largest_probability_and_whether_it_is_right():
    answers = Answers(("stage1", "main"))
    logits = {"teacher": torch.zeros(2, 2), "stage1": torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])}
    answers.add({**logits, "main": torch.tensor([[math.log(4), 0.0], [0.0, math.log(9)]])}, torch.tensor([1, 1]))
    confidence, hits = answers.read(1)
    torch.testing.assert_close(confidence, torch.tensor([[0.75, 0.5], [0.8, 0.9]]))
    assert hits.tolist() == [[True, False], [False, True]]


def test_metrics_by_hand():
    costs = {"stage1": ExitCost(10, 10), "main": ExitCost(40, 50)}
    validation = torch.tensor([[0.9, 0.6, 0.5, 0.4], [0.9, 0.9, 0.9, 0.9]]), torch.ones(2, 4, dtype=torch.bool)
    test = torch.tensor([[0.7, 0.6, 0.3], [0.9, 0.9, 0.9]]), torch.tensor([[True, False, False], [False, False, True]])
    found = exit_metrics(costs, validation, test)
    assert (found["exit/macs/main"], found["exit/macs_through/main"]) == (40, 50)
    # Half way two of four validation images leave first: those above 0.5. Of the test images the first two are above
    # it; the first is right there, the third at main: 2 of 3, for (10 + 10 + 50) / 3.
    assert found["budget/50/threshold/stage1"] == 0.5
    assert found["budget/50/top1"] == pytest.approx(200 / 3)
    assert found["budget/50/macs"] == pytest.approx(70 / 3)
    assert (found["budget/0/top1"], found["budget/0/macs"]) == (pytest.approx(100 / 3), 10)
    assert (found["budget/100/top1"], found["budget/100/macs"]) == (pytest.approx(100 / 3), 50)
    assert len(found) == 4 + 4 * len(WAY)


def test_a_network_without_branches_has_one_exit_and_no_budgets():
    answers = torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool)
    assert exit_metrics({"main": ExitCost(7, 7)}, answers, answers) == {
        "exit/macs/main": 7,
        "exit/macs_through/main": 7,
    }


def last_report(phase="confirm", **trial):
    spec = arm_trial(small_study(trials=0, **trial), "dense", {}, epochs=2, phase=phase, seed=1)
    return [report.metrics for report in fit(spec, load(spec.data), HERE)][-1]


def test_a_trial_that_is_asked_measures_its_exits_once_and_nothing_else_changes(monkeypatch):
    looked = []
    batches = trainer.evaluation_batches
    monkeypatch.setattr(trainer, "evaluation_batches", lambda split, *who: looked.append(split) or batches(split, *who))
    plain, plainly = last_report(), len(looked)
    asked = last_report(exits=True)
    assert len(looked) == 2 * plainly, "the test set is looked at as often as ever"
    own = {name for name in asked if name.startswith(("exit/", "budget/"))}
    timed = {name for name in plain if "time/" in name or "per_s" in name}
    assert {name: asked[name] for name in asked.keys() - own - timed} == {
        name: plain[name] for name in plain.keys() - timed
    }
    assert asked["budget/100/top1"] == pytest.approx(plain["test/top1/main"]), "all leave last"
    assert asked["budget/0/top1"] == pytest.approx(plain["test/top1/stage1"]), "all leave first"
    assert asked["exit/macs/main"] == plain["cost/macs_inference"]
    assert asked["budget/100/macs"] == plain["cost/macs_train"]
    assert not [name for name in last_report("search", exits=True) if name.startswith(("exit/", "budget/"))]


def of_two(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    answers = Answers(("main",))
    if rank == 0:  # the other one's share is empty
        answers.add({"main": torch.tensor([[0.0, math.log(3)]])}, torch.tensor([1]))
    confidence, hits = answers.read(2)
    torch.testing.assert_close(confidence, torch.tensor([[0.75]]))
    assert hits.tolist() == [[True]]
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_all_workers_read_the_answers_of_all(tmp_path):
    torch.multiprocessing.spawn(of_two, (tmp_path,), nprocs=2)
