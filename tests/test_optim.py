"""The schedule at the paper's milestones, and the parameters it acts on."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dks_study.optim import build_optimiser, lr_at, set_lr
from dks_study.spec import OptimiserSpec


@pytest.mark.parametrize(("epoch", "lr"), [(1, 0.1), (60, 0.1), (61, 0.02), (120, 0.02), (121, 0.004), (161, 0.0008)])
def test_the_paper_drops_the_rate_after_epochs_60_120_and_160(epoch, lr):
    steps = 391
    for step in (0, steps - 1):
        progress = ((epoch - 1) * steps + step) / (200 * steps)
        assert lr_at(OptimiserSpec(milestones=(0.3, 0.6, 0.8), gamma=0.2), progress) == pytest.approx(lr)


@pytest.mark.parametrize("steps", [1, 7, 390, 391])
def test_the_rate_changes_between_two_epochs_and_nowhere_else(steps):
    spec, total = OptimiserSpec(lr=0.1, milestones=(0.3, 0.6, 0.8), gamma=0.2), 200 * steps
    rates = [lr_at(spec, step / total) for step in range(total)]
    assert [step for step in range(1, total) if rates[step] != rates[step - 1]] == [
        60 * steps,
        120 * steps,
        160 * steps,
    ]
    assert sorted(set(rates), reverse=True) == pytest.approx([0.1, 0.02, 0.004, 0.0008])


@settings(max_examples=50, deadline=None)
@given(
    milestones=st.lists(st.floats(0.01, 0.99), max_size=4, unique=True).map(sorted).map(tuple),
    gamma=st.floats(0.01, 1),
    lr=st.floats(1e-4, 1),
    schedule=st.sampled_from(["multistep", "cosine"]),
)
def test_no_schedule_ever_rises(milestones, gamma, lr, schedule):
    spec = OptimiserSpec(lr=lr, milestones=milestones, gamma=gamma, schedule=schedule)
    rates = [lr_at(spec, step / 60) for step in range(60)]
    assert rates[0] == lr
    assert all(0 < later <= earlier for earlier, later in pairwise(rates))
    if schedule == "multistep":
        assert lr_at(spec, 0.999) == pytest.approx(lr * gamma ** len(milestones))


def test_a_schedule_without_milestones_is_flat():
    assert {lr_at(OptimiserSpec(milestones=()), step / 10) for step in range(10)} == {0.1}


def test_cosine_falls_from_the_full_rate_towards_nothing():
    spec = OptimiserSpec(schedule="cosine", lr=0.4)
    rates = [lr_at(spec, step / 100) for step in range(100)]
    assert rates[0] == 0.4
    assert rates[50] == pytest.approx(0.2)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.001


def test_weight_decay_acts_on_every_parameter_and_the_rate_is_set():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimiser = build_optimiser(model.parameters(), OptimiserSpec(weight_decay=0.1, nesterov=True))
    set_lr(optimiser, 0.03)
    (group,) = optimiser.param_groups
    assert (group["lr"], group["weight_decay"], group["nesterov"], len(group["params"])) == (0.03, 0.1, True, 4)
