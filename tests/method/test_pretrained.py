"""Weights that training starts from: what is taken, what is left out, and one line for whatever does not fit."""

import os
import subprocess
import sys

import pytest
import torch

from dks_study.method.backbones import build_backbone
from dks_study.method.networks import build_network, parts_of
from dks_study.method.pretrained import weights_path
from dks_study.spec.backbone import ExternalSpec, ResNetSpec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.cohort import PeerSpec, TeacherSpec
from dks_study.spec.data import DataSpec
from dks_study.spec.optimiser import OptimiserSpec
from dks_study.spec.trial import RunSpec

PLAIN = ResNetSpec(name="resnet", depth=8, base_channels=4)
OWN = ExternalSpec(name="own_networks:WithStages", options={"width": 4})


def saved(folder, backbone=PLAIN, classes=10, seed=5, change=lambda state: state):
    """Save the weights of a network; return its state and the same backbone that starts from them."""
    state = change(build_backbone(backbone, 1, classes, seed).plain().state_dict())
    torch.save(state, folder / "net.pt")
    return state, backbone.model_copy(update={"weights": str(folder / "net.pt")})


def built(backbone, classes=10, **parts):
    parts = {"branches": BranchSpec(taps=("stage1",)), **parts}
    run = RunSpec(backbone=backbone, data=DataSpec(name="digits"), epochs=1, **parts)
    return build_network(run, 1, classes, seed=0)


@pytest.mark.parametrize("backbone", [PLAIN, OWN], ids=lambda spec: spec.name)
def test_the_backbone_has_the_files_weights_and_the_branches_those_of_the_seed(tmp_path, backbone):
    state, pretrained = saved(tmp_path, backbone)
    net, fresh = built(pretrained), built(backbone)
    for key, value in net.backbone.plain().state_dict().items():
        assert torch.equal(value, state[key])
    for key, value in net.branches.state_dict().items():
        assert torch.equal(value, fresh.branches.state_dict()[key])
    parts = parts_of(net)
    assert {parts[each] for each in net.backbone.parameters()} == {"pretrained"}
    assert {parts[each] for each in net.branches.parameters()} == {"branch"}


def test_a_last_layer_of_other_classes_keeps_the_weights_of_the_seed_and_is_not_pretrained(tmp_path):
    state, pretrained = saved(tmp_path, classes=7)
    net, fresh = built(pretrained), built(PLAIN)
    assert torch.equal(net.backbone.state_dict()["stem.conv.weight"], state["stem.conv.weight"])
    assert torch.equal(net.backbone.head.fc.weight, fresh.backbone.head.fc.weight)
    named = dict(net.backbone.named_parameters())
    assert {name for name, each in named.items() if each not in parts_of(net)} == {"head.fc.weight", "head.fc.bias"}


def without(state):
    return {key: value for key, value in state.items() if key != "stem.conv.weight"}


def test_a_file_from_before_batches_were_counted_is_taken(tmp_path):
    def older(state):
        return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}

    state, pretrained = saved(tmp_path, change=older)
    assert torch.equal(built(pretrained).backbone.stem.conv.weight, state["stem.conv.weight"])


def with_more(state):
    return {**state, **{f"aux.{number}": torch.zeros(1) for number in range(5)}}


def with_another_shape(state):
    return {**state, "stem.conv.weight": torch.zeros(4, 3, 3, 3)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without, r"stem\.conv\.weight missing$"),
        (with_more, r"aux\.0, aux\.1, aux\.2 and 2 more not in the network$"),
        (with_another_shape, r"stem\.conv\.weight of another shape$"),
        (lambda state: {"state_dict": state}, r"^backbone\.weights: must hold a state_dict"),
        (lambda state: [1], r"^backbone\.weights: must hold a state_dict"),
    ],
)
def test_keys_that_do_not_fit_are_named_in_one_line(tmp_path, change, message):
    _, pretrained = saved(tmp_path, change=change)
    with pytest.raises(ValueError, match=message) as caught:
        built(pretrained)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_damaged_gets_one_line(tmp_path):
    missing = PLAIN.model_copy(update={"weights": str(tmp_path / "no.pt")})
    with pytest.raises(ValueError, match=r"^backbone\.weights: must be a file, got '.*no\.pt'$"):
        built(missing)
    for name in ("no.pt", "no.safetensors"):
        (tmp_path / name).write_bytes(b"junk")
        with pytest.raises(ValueError, match=r"^backbone\.weights: must be a file of weights") as caught:
            built(PLAIN.model_copy(update={"weights": str(tmp_path / name)}))
        assert "\n" not in str(caught.value)


def test_safetensors_are_read_too(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="the extra timm is not installed")
    state, _ = saved(tmp_path)
    safetensors.save_file(state, tmp_path / "net.safetensors")
    net = built(PLAIN.model_copy(update={"weights": str(tmp_path / "net.safetensors")}))
    assert torch.equal(net.backbone.head.fc.weight, state["head.fc.weight"])


def test_a_peer_starts_from_its_own_weights_or_the_runs(tmp_path):
    state, pretrained = saved(tmp_path)
    own = built(pretrained, peers=(PeerSpec(), PeerSpec(backbone=PLAIN)))
    assert torch.equal(own.peers[0].backbone.head.fc.weight, state["head.fc.weight"])
    assert not torch.equal(own.peers[1].backbone.head.fc.weight, state["head.fc.weight"])


def test_what_makes_no_sense_is_refused(tmp_path):
    _, pretrained = saved(tmp_path)
    with pytest.raises(ValueError, match=r"backbone\.weights: must be left out: weights has them"):
        TeacherSpec(weights="a.pt", backbone=pretrained)
    for key, value in (("freeze_pretrained", 0.5), ("pretrained_lr_factor", 0.1)):
        with pytest.raises(ValueError, match=rf"optimiser\.{key}: needs backbone\.weights, got {value}"):
            built(PLAIN, optimiser=OptimiserSpec(**{key: value}))
    frozen = OptimiserSpec(freeze_pretrained=0.5)
    with pytest.raises(ValueError, match=r"optimiser\.freeze_pretrained: must be left out where nothing but"):
        built(pretrained, optimiser=frozen, branches=BranchSpec())
    saved(tmp_path, classes=7)
    built(pretrained, optimiser=frozen, branches=BranchSpec())  # the last layer learns


def test_torchvisions_are_taken_from_its_cache_and_otherwise_fetched(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there: no network
    monkeypatch.setenv("no_proxy", "")
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    try:
        spec = ExternalSpec(name="torchvision:resnet18", weights="IMAGENET1K_V1")
        with pytest.raises(
            ValueError, match=r"weights of torchvision that are in its cache or can be fetched, got 'IMA"
        ):
            weights_path(spec)
        (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"weights")
        assert weights_path(spec) == tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
        with pytest.raises(ValueError, match=r"resnet18 has IMAGENET1K_V1$"):
            weights_path(ExternalSpec(name="torchvision:resnet18", weights="IMAGENET1K_V9"))
    finally:
        torch.hub.set_dir(before)


@pytest.mark.slow
def test_timms_are_taken_from_its_cache_and_otherwise_fetched(tmp_path):
    pytest.importorskip("timm", reason="the extra timm is not installed")
    code = (
        "from dks_study.method.pretrained import weights_path; from dks_study.spec.backbone import ExternalSpec\n"
        "for tag in ('a1_in1k', 'a2_in1k', 'a9'):\n"
        "    try: print(weights_path(ExternalSpec(name='timm:resnet18', weights=tag)))\n"
        "    except ValueError as error: print(error)\n"
    )
    commit = tmp_path / "hub" / "models--timm--resnet18.a1_in1k"
    (commit / "refs").mkdir(parents=True)
    (commit / "refs" / "main").write_text("0" * 40)
    (commit / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (commit / "snapshots" / ("0" * 40) / "model.safetensors").write_bytes(b"weights")
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    cached, offline, unknown = done.stdout.splitlines()
    assert cached == str(commit / "snapshots" / ("0" * 40) / "model.safetensors")
    assert "weights of timm that are in its cache or can be fetched, got 'a2_in1k'" in offline
    assert "resnet18 has a1_in1k, a2_in1k, " in unknown
