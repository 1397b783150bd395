"""Number formats, layout and compilation: what they change, and what they must not."""

import copy
import json
import shutil
from dataclasses import replace

import pytest
import torch
from studies import small_study
from test_trainer import lasting, reports, trial_of
from torch import nn
from torch.export import export

from dks_study.method.networks import build_network
from dks_study.method.synergy import objective_for
from dks_study.spec.compute import Computation, ComputeSpec
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import RunSpec
from dks_study.training import trainer
from dks_study.training.compute import compiled, keep_to_share, lay_out, loss_scaler, own_device, place, precision

CPU = torch.device("cpu")


def small_model():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


PLAIN = Computation("float32", channels_last=False)


def test_in_float32_and_the_default_layout_nothing_is_wrapped():
    model, images = small_model(), torch.rand(2, 2, 4, 4)
    assert place(model, PLAIN, CPU) is model
    assert compiled(model, PLAIN) is model
    assert lay_out(images, PLAIN) is images
    scaler = loss_scaler(PLAIN, CPU)
    assert scaler.state_dict() == {}
    assert scaler.scale(images) is images
    with precision(PLAIN, CPU):
        assert not torch.is_autocast_enabled("cpu")
        assert model(images).dtype == torch.float32


@pytest.mark.parametrize(
    ("written", "on_cpus", "on_gpus"),
    [
        ({}, ("float32", True), ("tf32", True)),
        ({"precision": "float32"}, ("float32", True), ("float32", False)),
        ({"precision": "bfloat16"}, ("bfloat16", True), ("bfloat16", True)),
        ({"channels_last": False}, ("float32", False), ("tf32", False)),
        ({"precision": "float32", "channels_last": True}, ("float32", True), ("float32", True)),
    ],
)
def test_what_is_left_to_auto_follows_from_the_device_and_explicit_keys_win(written, on_cpus, on_gpus):
    spec = ComputeSpec.model_validate(written)
    assert [spec.chosen(on_gpu=on_gpu) for on_gpu in (False, True)] == [Computation(*on_cpus), Computation(*on_gpus)]
    trial = trial_of(compute=written)
    assert trial.computation == Computation(*on_cpus)
    assert trial_of(compute=written, resources={"gpus_per_worker": 0.5}).computation == Computation(*on_gpus)


@pytest.mark.parametrize(("precision", "rounded"), [("float32", False), ("tf32", True), ("float16", True)])
def test_on_a_gpu_products_are_rounded_as_asked(monkeypatch, precision, rounded):
    parts = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [part.allow_tf32 for part in parts]
    monkeypatch.setattr(nn.Module, "to", lambda model, *_, **__: model)  # there is no GPU to go to
    try:
        place(small_model(), Computation(precision, channels_last=True), torch.device("cuda"))
        assert [part.allow_tf32 for part in parts] == [rounded, rounded]
        assert (torch.backends.cudnn.conv.fp32_precision == "tf32") == rounded
        images = torch.rand(2, 2, 4, 4)
        export(small_model().eval(), (images,))  # it reads the setting, and what it reads must be one
        torch.compile(small_model(), backend="eager")(images)
    finally:
        for part, as_it_was in zip(parts, before, strict=True):
            part.allow_tf32 = as_it_was


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_forward_passes_run_in_the_asked_precision(name):
    with precision(Computation(name, channels_last=False), CPU):
        assert small_model()(torch.rand(2, 2, 4, 4)).dtype == getattr(torch, name)
    assert loss_scaler(Computation(name, channels_last=False), CPU).is_enabled() == (name == "float16")


def test_shared_batch_norm_keeps_names_weights_and_what_is_evaluated():
    model, images = small_model(), torch.rand(2, 2, 4, 4)
    model(images)
    plain = copy.deepcopy(model).eval()
    placed = place(model, replace(PLAIN, sync_batch_norm=True), CPU).eval()
    assert {type(layer) for layer in placed} == {nn.Conv2d, nn.SyncBatchNorm, nn.Flatten, nn.Linear}
    assert placed.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(placed(images), plain(images))


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision_trains_with_losses_and_weights_in_float32(name, monkeypatch):
    seen = set()

    def spying(loss, classifiers):
        objective = objective_for(loss, classifiers)

        def call(logits, targets, *more, **features):
            terms = objective(logits, targets, *more, **features)
            tensors = (*logits.values(), terms.total, terms.supervised, terms.synergy)
            seen.add(tuple(tensor.dtype for tensor in tensors))
            return terms

        return call

    monkeypatch.setattr(trainer, "objective_for", spying)
    small = {"backbone": {"name": "resnet", "depth": 8, "base_channels": 2}}
    first, last = reports(trial_of(compute={"precision": name}, **small))
    assert seen == {(getattr(torch, name),) * 3 + (torch.float32,) * 3}
    assert {value.dtype for value in last.state.network.values()} == {torch.float32, torch.int64}
    assert last.metrics["train/loss"] < first.metrics["train/loss"]
    exact = reports(trial_of(**small))[0].metrics
    assert first.metrics["train/loss"] == pytest.approx(exact["train/loss"], rel=0.05)
    assert first.metrics["train/loss"] != exact["train/loss"]


def test_channels_last_changes_the_layout_and_not_the_result():
    # One step: more of them grow the rounding.
    one_step = {"epochs": 1, "optimiser": {"lr": 0.05, "batch_size": 1200}}
    plain, other = (reports(trial_of(**one_step, compute={"channels_last": last}))[0] for last in (False, True))
    weight = other.state.network["backbone.stages.stage2.0.conv1.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    for name, value in plain.state.network.items():
        torch.testing.assert_close(value, other.state.network[name], rtol=1e-4, atol=1e-4)
    assert lasting(other.metrics) == pytest.approx(lasting(plain.metrics), rel=1e-3)


def test_without_rounding_channels_last_gives_the_same_logits_and_gradients():
    trial, images = trial_of(), torch.rand(16, 1, 8, 8, dtype=torch.float64)
    found = []
    for how in (PLAIN, replace(PLAIN, channels_last=True)):
        network = place(build_network(trial, 1, 10, seed=0).double(), how, CPU)
        logits = network(lay_out(images, how))
        sum(each.square().sum() for each in logits.values()).backward()
        found.append([*logits.values(), *(parameter.grad for parameter in network.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs")
def test_a_compiled_network_trains_like_another():
    optimiser = {"lr": 0.05, "batch_size": 512, "keep_partial_batch": True}
    plain = reports(trial_of(optimiser=optimiser))[-1]
    trial = trial_of(optimiser=optimiser, compute={"compile": True})
    once, again = reports(trial)[-1], reports(trial)[-1]
    assert lasting(once.metrics) == lasting(again.metrics)
    assert once.state.network.keys() == plain.state.network.keys()
    for name, value in plain.state.network.items():
        torch.testing.assert_close(value, once.state.network[name], rtol=1e-3, atol=1e-4)


def test_compiling_asks_for_one_program_per_batch_size(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: asked.append((model, options)) or model)
    model = small_model()
    assert compiled(model, replace(PLAIN, compile=True)) is model
    assert asked == [(model, {"dynamic": False})]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"compute": {"precision": "half"}}, "'auto', 'float32', 'tf32', 'bfloat16' or 'float16'"),
        ({"compute": {"compile": 1}}, "valid boolean"),
        ({"compute": {"channels_last": "no"}}, "'auto', True or False"),
        ({"compute": {"precision": "tf32"}}, "must not be tf32 on CPUs (resources.gpus_per_worker 0), got 'tf32'"),
        (
            {"compute": {"sync_batch_norm": True}},
            "compute.sync_batch_norm: needs resources.workers above 1 and a GPU for each (PyTorch's SyncBatchNorm"
            " refuses CPUs), got workers 0, gpus_per_worker 0",
        ),
        (
            {"compute": {"sync_batch_norm": True}, "resources": {"workers": 2}},
            "got workers 2, gpus_per_worker 0",
        ),
    ],
)
def test_what_cannot_work_is_refused(values, message):
    with pytest.raises(ValueError, match="validation error") as caught:
        trial_of(**values)
    assert message in str(caught.value)
    good = {"compute": {"sync_batch_norm": True}, "resources": {"workers": 2, "gpus_per_worker": 1}}
    assert trial_of(**good).compute.sync_batch_norm


@pytest.mark.parametrize(
    ("cpus", "decoders", "gpus", "device", "threads", "memory"),
    [
        (1, 0, 0, "cpu", 1, []),
        (4, 0, 0, "cpu", 4, []),
        (4, 3, 0, "cpu", 1, []),
        (2, 6, 0, "cpu", 1, []),
        (8, 6, 1, "cuda", 2, []),
        (1, 0, 0.25, "cuda", 1, [0.25]),
    ],
)
def test_a_trial_keeps_to_its_share_of_the_machine(monkeypatch, cpus, decoders, gpus, device, threads, memory):
    set_threads, set_memory = [], []
    monkeypatch.setattr(torch, "set_num_threads", set_threads.append)
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", lambda part, of: set_memory.append((part, of)))
    data = {"name": "imagenet", "root": "none", "decode_workers": decoders} if decoders else {"name": "digits"}
    trial = trial_of(data=data, resources={"cpus_per_worker": cpus, "gpus_per_worker": gpus})
    keep_to_share(trial, torch.device(device))
    assert set_threads == [threads]
    assert set_memory == [(part, torch.device(device)) for part in memory]
    assert own_device(trial.resources) == (torch.device("cuda", 0) if gpus else CPU)


def test_all_arms_compute_alike():
    values = small_study().model_dump(mode="json", by_alias=True, exclude_unset=True)
    values["arms"]["dense"]["compute.precision"] = "bfloat16"
    with pytest.raises(ValueError, match=r"arms.dense.compute.precision: must be the same in the whole study"):
        StudySpec.model_validate_json(json.dumps(values))
    assert RunSpec.model_fields["compute"].default == ComputeSpec()
