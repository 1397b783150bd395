"""Exports: the backbone alone, checked before it is written, read again by what users have."""

import json

import numpy as np
import pytest
import torch
from exported import trained, trial_spec

from dks_study.method.backbones import build_backbone
from dks_study.method.branches import build_branched
from dks_study.method.exits import EarlyExit
from dks_study.method.networks import build_network
from dks_study.spec.backbone import ExternalSpec, WRNSpec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.cohort import PeerSpec
from dks_study.spec.trial import OptimiserSpec, TrialSpec
from dks_study.study import export as export_module
from dks_study.study.export import ExportError, export, load_trained, main
from dks_study.training.data import load

CPU = torch.device("cpu")
OWN = ExternalSpec(name="own_networks:WithStages", options={"width": 4})


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    trained(folder)
    return folder


@pytest.fixture
def images():
    return torch.randn(3, 1, 8, 8)


def expected(folder, images):
    """Logits of `main` in the trained network, put together without the exporter."""
    spec = TrialSpec.model_validate_json((folder / "trial.json").read_text())
    net = build_network(spec, 1, 10, seed=99).eval()
    net.load_state_dict(torch.load(folder / "last.pt", weights_only=True)["network"])
    with torch.no_grad():
        return net(images)["main"]


def test_weights_load_strictly_into_the_original_network(trial, images):
    text = export(trial, "weights")
    plain = build_backbone(trial_spec().backbone, 1, 10, seed=7).plain().eval()
    plain.load_state_dict(torch.load(trial / "backbone.pt", weights_only=True), strict=True)
    assert torch.equal(plain(images), expected(trial, images))
    assert "parameters" in text
    assert f"{sum(p.numel() for p in plain.parameters()):,}" in text
    assert not list(trial.glob("*.tmp*"))


def test_a_network_that_is_loaded_takes_pixels_as_they_are(trial):
    network = load_trained(trial)
    data = load(trial_spec().data)
    pixels = data.test.images[:20]
    for channel in range(pixels.shape[1]):  # by hand, with the data's own mean and spread
        by_hand = (pixels[:, channel].double() / 255 - data.mean[channel]) / data.std[channel]
        torch.testing.assert_close(network.normalise(pixels)[:, channel].double(), by_hand, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network(pixels), expected(trial, data.normalise(pixels)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spoilt", [lambda x: x / 255, lambda x: x[0], lambda x: x.expand(-1, 3, -1, -1), np.asarray])
def test_what_is_no_picture_of_that_kind_is_refused_in_a_line(trial, spoilt):
    network, pixels = load_trained(trial), load(trial_spec().data).test.images[:2]
    with pytest.raises(ExportError, match=r"images: must be a tensor uint8 \[B, 1, H, W\], got"):
        network(spoilt(pixels))


def test_a_program_takes_any_batch(trial, images, tmp_path):
    export(trial, "torch.export", tmp_path / "net.pt2")
    program = torch.export.load(tmp_path / "net.pt2").module()
    torch.testing.assert_close(program(images), expected(trial, images), rtol=1e-5, atol=1e-5)
    assert program(images[:2]).shape == (2, 10)


@pytest.mark.slow
def test_onnx_runs_in_onnxruntime(trial, images):
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    export(trial, "onnx")
    session = runtime.InferenceSession(str(trial / "backbone.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected(trial, images), rtol=1e-4, atol=1e-4)


def test_what_the_inputs_must_be_stands_beside_the_file(trial):
    export(trial, "weights")
    content = json.loads((trial / "backbone.pt.json").read_text())
    assert (content["image_shape"], content["classes"], content["epochs"]) == ([1, 8, 8], 10, 1)
    assert content["mean"][0] == pytest.approx(0.28, abs=0.05)
    assert content["backbone"]["name"] == "resnet"


def test_of_a_cohort_with_averaged_weights_the_own_average_is_exported(tmp_path, images):
    optimiser = OptimiserSpec(batch_size=256, lr=0.05, ema_decay=0.5)
    _, state = trained(tmp_path, peers=(PeerSpec(),), optimiser=optimiser, branches=BranchSpec())
    export(tmp_path, "weights")
    weights = torch.load(tmp_path / "backbone.pt", weights_only=True)
    assert torch.equal(weights["head.fc.weight"], state.averaged["own.backbone.head.fc.weight"])
    assert not torch.equal(weights["head.fc.weight"], state.network["own.backbone.head.fc.weight"])


def test_an_export_can_teach(trial):
    export(trial, "weights")
    teacher = {"weights": str(trial / "backbone.pt"), "backbone": trial_spec().backbone}
    net = build_network(trial_spec(teacher=teacher, branches=BranchSpec()), 1, 10, seed=0).eval()
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(net(images)["teacher"], expected(trial, images))


def at_exit(folder, images, name="stage1"):
    """Logits of a branch in the trained network, put together without the exporter."""
    spec = TrialSpec.model_validate_json((folder / "trial.json").read_text())
    net = build_network(spec, images.shape[1], 10, seed=99, pixels=tuple(images.shape[2:])).eval()
    net.load_state_dict(torch.load(folder / "last.pt", weights_only=True)["network"])
    with torch.no_grad():
        return net(images)[name]


def test_an_exit_ships_with_what_it_needs_and_nothing_else(trial, images, tmp_path):
    text = export(trial, "weights", tmp_path / "exit.pt", "stage1")
    weights = torch.load(tmp_path / "exit.pt", weights_only=True)
    kept = ("backbone.stem.", "backbone.stages.stage1.", "branch.")
    assert all(key.startswith(kept) for key in weights)
    fresh = EarlyExit(build_branched(trial_spec().backbone, trial_spec().branches, 1, 10, seed=50), "stage1").eval()
    fresh.load_state_dict(weights, strict=True)
    assert torch.equal(fresh(images), at_exit(trial, images))
    assert f"{sum(p.numel() for p in fresh.parameters()):,}" in text
    assert text.endswith("loads strictly into the network cut at stage1; logits equal those of `stage1`")
    content = json.loads((tmp_path / "exit.pt.json").read_text())
    assert (content["exit"], content["branches"]["taps"]) == ("stage1", ["stage1", "stage2"])


@pytest.mark.parametrize("to", ["torch.export", pytest.param("onnx", marks=pytest.mark.slow)])
def test_programs_of_an_exit_run_in_what_users_have(trial, images, to):
    if to == "torch.export":
        assert main([str(trial), "--to", to, "--exit", "stage2"]) == 0
        program = torch.export.load(trial / "exit_stage2.pt2")
        assert not [key for key in program.state_dict if "stage3" in key or ("head.fc" in key and "backbone" in key)]
        found = program.module()(images)
    else:
        runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
        pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
        assert main([str(trial), "--to", to, "--exit", "stage2"]) == 0
        session = runtime.InferenceSession(str(trial / "exit_stage2.onnx"), providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])
    torch.testing.assert_close(found, at_exit(trial, images, "stage2"), rtol=1e-4, atol=1e-4)


def test_a_network_from_elsewhere_is_cut_inside_a_stage_too(tmp_path):
    branches = BranchSpec(taps=("stage1.1",), recipe="linear")
    trained(tmp_path, backbone=OWN, branches=branches)
    export(tmp_path, "weights", name="stage1.1")
    weights = torch.load(tmp_path / "exit_stage1.1.pt", weights_only=True)
    inside = {key.partition("model.")[2].rpartition(".")[0] for key in weights if key.startswith("backbone")}
    assert {name.rpartition(".")[0] for name in inside} == {"stem", "stages.early.0"}
    images = torch.randn(2, 1, 8, 8)
    network = load_trained(tmp_path, "stage1.1").network
    with torch.no_grad():
        assert torch.equal(network(images), at_exit(tmp_path, images, "stage1.1"))


@pytest.mark.parametrize(
    ("name", "message"),
    [("main", "must be a branch (stage1, stage2), got 'main'"), ("stage9", "must be a branch (stage1, stage2)")],
)
def test_an_exit_that_is_not_there_gets_one_line(trial, capsys, name, message):
    assert main([str(trial), "--to", "weights", "--exit", name]) == 2
    (trial / "last.pt").rename(trial / "away.pt")
    assert main([str(trial), "--to", "weights", "--exit", name]) == 2
    (trial / "away.pt").rename(trial / "last.pt")
    first, without_weights = capsys.readouterr().err.splitlines()
    assert first.startswith(f"dks-study export: --exit: {message}")
    assert without_weights == first


def test_a_network_that_is_tapped_at_modules_cannot_be_cut_and_says_so(tmp_path, capsys):
    branches = BranchSpec(taps=("stages.early.0",), recipe="linear")
    trained(tmp_path, backbone=OWN, branches=branches)
    assert main([str(tmp_path), "--to", "weights", "--exit", "stages.early.0"]) == 2
    assert "--exit: must be a stage of a network that runs stage by stage" in capsys.readouterr().err


def test_nothing_is_written_when_a_check_fails(trial, tmp_path, monkeypatch):
    def wrong(*_):
        return torch.zeros(4, 10)

    suffix, write, _ = export_module.FORMATS["weights"]
    monkeypatch.setitem(export_module.FORMATS, "weights", (suffix, write, wrong))
    with pytest.raises(ExportError, match="its logits must equal those of `main`, got a difference"):
        export(trial, "weights", tmp_path / "net.pt")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_costs_before_and_after(trial, capsys):
    assert main([str(trial), "--to", "weights"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["parameters", "MACs", "FLOPs"]


def test_other_backbones_export_too(tmp_path):
    trained(tmp_path, backbone=WRNSpec(name="wrn", depth=10, width=1, dropout=0.2))
    export(tmp_path, "torch.export")
