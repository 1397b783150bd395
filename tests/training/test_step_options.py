"""What a step can do besides: parts of a batch, an average of the weights, clipping; and resuming with all of it."""

from contextlib import nullcontext

import pytest
import torch
from plain import STEPS_PER_EPOCH, Plain, plain_trial
from test_trainer import HERE, lasting, reports, trial_of
from torch import nn

from dks_study.training import trainer
from dks_study.training.checkpoint import load_state
from dks_study.training.data import load
from dks_study.training.trainer import Chosen, fit

ALL_OPTIONS = {
    "sgd": {
        "optimiser": {
            "lr": 0.05, "batch_size": 200, "accumulate": 3, "clip_norm": 1.0, "ema_decay": 0.9, "warmup": 0.1,
            "milestones": [0.3333, 0.7], "reset_momentum": True, "keep_partial_batch": True,
        },
        "compute": {"precision": "float16", "channels_last": True},
    },
    "adamw": {
        "optimiser": {
            "name": "adamw", "lr": 0.005, "batch_size": 256, "accumulate": 2, "clip_norm": 1.0, "ema_decay": 0.9,
            "schedule": "cosine", "warmup": 0.1,
        },
        "compute": {"precision": "bfloat16"},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ALL_OPTIONS)
def test_a_resumed_run_is_bit_identical_with_every_option_on(tmp_path, name):
    backbone = {"name": "resnet", "depth": 8, "base_channels": 2}
    trial = trial_of(epochs=3, phase="confirm", backbone=backbone, **ALL_OPTIONS[name])
    whole = reports(trial)[-1]
    first = fit(trial, load(trial.data), HERE)
    report = next(first)
    report.state.save(tmp_path / "last.pt")
    first.close()
    state = load_state(tmp_path / "last.pt", trial.content_hash())
    rest = reports(trial, state, Chosen(1, report.metrics["val/top1/main"], state.shipped))[-1]
    assert lasting(rest.metrics) == lasting(whole.metrics)
    assert rest.state.scaler == whole.state.scaler
    assert bool(rest.state.scaler) == (name == "sgd")
    for kind in ("network", "averaged"):
        once, again = getattr(whole.state, kind), getattr(rest.state, kind)
        assert all(torch.equal(value, again[key]) for key, value in once.items())
    for key, values in whole.state.optimiser["state"].items():
        assert all(torch.equal(value, rest.state.optimiser["state"][key][slot]) for slot, value in values.items())


@pytest.mark.parametrize("change", [{"averaged": None}, {"more": 1}])
def test_a_checkpoint_of_another_format_counts_as_none(tmp_path, change):
    trial = trial_of(epochs=1)
    state = reports(trial)[-1].state
    state.save(tmp_path / "last.pt")
    assert load_state(tmp_path / "last.pt", trial.content_hash()).epoch == 1
    values = {key: value for key, value in vars(state).items() if key not in change}
    torch.save(values | {key: value for key, value in change.items() if value}, tmp_path / "last.pt")
    assert load_state(tmp_path / "last.pt", trial.content_hash()) is None


def plainly(monkeypatch, **optimiser):
    """The last report of a run without batch norm."""
    monkeypatch.setattr(trainer, "build_network", lambda *_: Plain())
    return reports(plain_trial(**optimiser))[-1]


@pytest.fixture(scope="module")
def plain():
    """The same without any option."""
    with pytest.MonkeyPatch.context() as patch:
        return plainly(patch)


@pytest.mark.parametrize("parts", [3, 50])
def test_accumulated_gradients_are_those_of_the_whole_batch(monkeypatch, plain, parts):
    pieces = plainly(monkeypatch, accumulate=parts)
    for name, weights in plain.state.network.items():
        torch.testing.assert_close(pieces.state.network[name], weights, rtol=1e-4, atol=1e-6)
    assert lasting(pieces.metrics) == pytest.approx(lasting(plain.metrics), rel=1e-5)


def test_workers_talk_once_a_batch_however_many_parts_it_has(monkeypatch):
    silent = []
    monkeypatch.setattr(Plain, "no_sync", lambda _: nullcontext(silent.append(1)), raising=False)
    plainly(monkeypatch)
    assert silent == []
    plainly(monkeypatch, accumulate=3)
    steps = 2 * STEPS_PER_EPOCH
    assert len(silent) == 2 * steps


def test_with_an_average_it_is_evaluated_and_training_does_not_notice(monkeypatch, plain):
    averaged = plainly(monkeypatch, ema_decay=0.95)
    for name, weights in plain.state.network.items():
        assert torch.equal(averaged.state.network[name], weights)
    assert plain.state.shipped is plain.state.network
    assert averaged.state.shipped is averaged.state.averaged
    data, net = load(trial_of().data), Plain()
    net.load_state_dict(averaged.state.shipped)
    logits = net(data.normalise(data.validation.images))["main"]
    loss = nn.functional.cross_entropy(logits, data.validation.labels).item()
    assert averaged.metrics["val/loss/main"] == pytest.approx(loss, rel=1e-5)
    assert averaged.metrics["val/loss/main"] != pytest.approx(plain.metrics["val/loss/main"], rel=1e-3)


def test_the_average_in_a_run_is_the_recursion_over_its_steps(monkeypatch):
    weights, original = [Plain().main.weight.detach()], trainer.take_step

    def spying(optimiser, *more):
        original(optimiser, *more)
        weights.append(optimiser.param_groups[0]["params"][3].detach().clone())

    monkeypatch.setattr(trainer, "take_step", spying)
    state = plainly(monkeypatch, ema_decay=0.95).state
    expected = weights[0]
    for weight in weights[1:]:
        expected = 0.95 * expected + 0.05 * weight
    torch.testing.assert_close(state.averaged["main.weight"], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(state.network["main.weight"], weights[-1])


def test_weights_after_clipped_steps_stay_within_reach(monkeypatch):
    options = {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
    steps = 2 * STEPS_PER_EPOCH
    moved = {}
    for norm in (None, 1e-3):
        end = plainly(monkeypatch, clip_norm=norm, **options).state.network
        start = Plain().state_dict()
        moved[norm] = sum((end[name] - start[name]).square().sum() for name in end).sqrt().item()
    assert moved[1e-3] <= 0.01 * 1e-3 * steps * 1.001 < moved[None]
