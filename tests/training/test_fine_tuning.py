"""Fine-tuning: what is frozen does not move, what has another rate moves as far as that says, and the rest as ever."""

import pytest
import torch
from studies import small_study

from dks_study.method.backbones import build_backbone
from dks_study.method.networks import parts_of
from dks_study.spec.backbone import ResNetSpec
from dks_study.spec.study import arm_trial
from dks_study.training.data import load
from dks_study.training.team import Team
from dks_study.training.trainer import _prepare, fit

HERE = Team.here(torch.device("cpu"))
BACKBONE = {"name": "resnet", "depth": 8, "base_channels": 4}


@pytest.fixture
def weights(tmp_path):
    net = build_backbone(ResNetSpec(**BACKBONE), 1, 7, seed=9)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    return str(tmp_path / "net.pt")


def tuned(weights, epochs=2, arm="dense", **optimiser):
    optimiser = {"lr": 0.05, "batch_size": 256, "schedule": "constant", **optimiser}
    study = small_study(trials=0, backbone={**BACKBONE, "weights": weights}, optimiser=optimiser)
    return arm_trial(study, arm, {}, epochs=epochs, phase="search", seed=0)


def states(trial):
    """Return the weights before the first epoch and after each."""
    data = load(trial.data)
    run = _prepare(trial, data, HERE, None)
    parts = parts_of(run.network)
    names = {name: parts.get(each, "rest") for name, each in run.network.named_parameters()}
    copies = [{name: value.clone() for name, value in run.network.state_dict().items()}]
    for report in fit(trial, data, HERE):
        copies.append({name: value.clone() for name, value in report.state.network.items()})
    return names, copies


def moved(names, before, after):
    """Return of each part of the network whether any, and whether every, parameter of it changed."""
    found = {}
    for name, part in names.items():
        found.setdefault(part, set()).add(not torch.equal(before[name], after[name]))
    return found


@pytest.mark.parametrize("optimiser", [{}, {"name": "adamw", "lr": 0.01}, {"clip_norm": 1.0, "accumulate": 2}])
def test_what_is_frozen_does_not_move_and_then_does(weights, optimiser):
    names, (start, half, end) = states(tuned(weights, freeze_pretrained=0.5, **optimiser))
    assert set(names.values()) == {"pretrained", "branch", "rest"}
    first, second = moved(names, start, half), moved(names, half, end)
    assert first == {"pretrained": {False}, "branch": {True}, "rest": {True}}
    assert second == {"pretrained": {True}, "branch": {True}, "rest": {True}}


def test_momentum_of_what_is_frozen_stays_empty(weights):
    trial = tuned(weights, freeze_pretrained=0.5)
    moving = []
    for report in fit(trial, load(trial.data), HERE):
        state = report.state.optimiser
        groups = [group for group in state["param_groups"] if "freezes" in group]
        assert len(groups) == 2, "what decays, and what does not"
        buffers = [state["state"][each]["momentum_buffer"] for group in groups for each in group["params"]]
        moving.append({bool(buffer.any()) for buffer in buffers})
    assert moving == [{False}, {True}]


def test_each_part_moves_by_its_own_rate(weights):
    plain = {"momentum": 0.0, "weight_decay": 0.0, "batch_size": 1213, "keep_partial_batch": True}  # one step an epoch
    names, (start, as_ever) = states(tuned(weights, epochs=1, **plain))
    _, (_, tenth) = states(tuned(weights, epochs=1, pretrained_lr_factor=0.1, branch_lr_factor=2.0, **plain))
    factors = {"pretrained": 0.1, "branch": 2.0, "rest": 1.0}
    for name, part in names.items():
        expected = start[name] + factors[part] * (as_ever[name] - start[name])
        torch.testing.assert_close(tenth[name], expected, rtol=1e-4, atol=1e-6)


def test_a_run_that_goes_on_is_the_uninterrupted_one(weights):
    trial = tuned(weights, epochs=3, freeze_pretrained=0.5, pretrained_lr_factor=0.1)
    data = load(trial.data)
    _, *whole = [report.metrics for report in fit(trial, data, HERE)]
    again = [report.metrics for report in fit(trial, data, HERE, resume=next(fit(trial, data, HERE)).state)]
    for one, other in zip(whole, again, strict=True):
        assert {key: other[key] for key in one if key.startswith("val/")} == {
            key: one[key] for key in one if key.startswith("val/")
        }


def test_the_reported_rate_is_the_whole_one(weights):
    trial = tuned(weights, epochs=1, pretrained_lr_factor=0.1, branch_lr_factor=0.5)
    assert [report.metrics["train/lr"] for report in fit(trial, load(trial.data), HERE)] == [0.05]
