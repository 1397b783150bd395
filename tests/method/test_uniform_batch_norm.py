"""The authors' initial scales of batch norm: from U(0, 1), in branches too, and no other weight changes."""

import pytest
import torch
from torch import nn

from dks_study.method.networks import build_network
from dks_study.method.streams import generator
from dks_study.spec.files import load_study
from dks_study.spec.study import arm_run
from dks_study.spec.trial import RunSpec
from dks_study.training.arm_checks import StudyError, check_arms

WRN = {"name": "wrn", "depth": 16, "width": 1}
# a backbone -> taps: of the package, walked and watched ones from elsewhere
BACKBONES = {
    "wrn": (WRN, ["stage1", "stage2"]),
    "walked": ({"name": "torchvision:resnet18"}, ["stage2"]),
    "watched": ({"name": "own_networks:Skips"}, ["one", "two"]),
}


def built(backbone, taps=(), seed=0, **more):
    values = {"backbone": backbone, "data": {"name": "digits"}, "epochs": 1, "branches": {"taps": list(taps)}, **more}
    run = RunSpec.model_validate(values, strict=False)
    pixels = (8, 8) if backbone["name"] == "wrn" else (64, 64)
    return build_network(run, 1 if pixels == (8, 8) else 3, 10, seed, pixels)


def scales(network):
    return {
        f"{name}.weight": each.weight
        for name, each in network.named_modules()
        if isinstance(each, nn.BatchNorm2d | nn.BatchNorm1d)
    }


@pytest.mark.parametrize("kind", ["wrn", pytest.param("walked", marks=pytest.mark.slow), "watched"])
def test_scales_are_between_0_and_1_and_all_else_is_as_without(kind):
    backbone, taps = BACKBONES[kind]
    plain, drawn = built(backbone, taps), built({**backbone, "uniform_batch_norm": True}, taps)
    found, before = scales(drawn), scales(plain)
    assert any(name.startswith("branches.") for name in found)
    assert any(name.startswith("backbone.") for name in found)
    values = torch.cat([each.detach() for each in found.values()])
    assert (values.min() >= 0) & (values.max() <= 1)
    assert values.mean().item() == pytest.approx(0.5, abs=0.1)
    assert values.std().item() == pytest.approx(12**-0.5, abs=0.05)
    assert not any(torch.equal(found[name], before[name]) for name in found)
    for name, value in plain.state_dict().items():
        assert name in found or torch.equal(drawn.state_dict()[name], value), name


def test_they_follow_from_the_seed_and_a_stream_of_each_part():
    keys = {**WRN, "uniform_batch_norm": True}
    one, alone, other = built(keys, ["stage1", "stage2"]), built(keys, ["stage2"], peers=[{}]), built(keys, seed=1)
    assert all(torch.equal(value, scales(one.backbone)[key]) for key, value in scales(alone.own.backbone).items())
    late = [scales(net.branch("stage2")) for net in (one, alone.own)]
    assert all(torch.equal(value, late[1][key]) for key, value in late[0].items())
    assert not any(torch.equal(value, scales(one.backbone)[key]) for key, value in scales(other.backbone).items())
    peer = scales(alone.peers[0].backbone)
    assert not any(torch.equal(value, peer[key]) for key, value in scales(alone.own.backbone).items())
    first = next(iter(scales(one.backbone).values()))
    assert torch.equal(first, torch.rand(first.shape, generator=generator(0, "batch_norm", "backbone")))


def test_without_batch_norm_it_is_told_in_one_line():
    swin = "{name: own_networks:tiny_swin, uniform_batch_norm: true}"
    taps = "trial.branches={taps: [features.1], recipe: linear}"
    study = load_study("does_it_help", None, [f"trial.backbone={swin}", taps])
    rule = "must be left out with own_networks:tiny_swin, which has no batch norm with scales, got true"
    with pytest.raises(StudyError, match=rf"^arms\.baseline: trial\.backbone\.uniform_batch_norm: {rule}$"):
        check_arms(study)


def test_by_default_it_leaves_hashes_as_they_were():
    plain, drawn = (
        arm_run(load_study("paper_cifar100", None, settings), "dks", {})
        for settings in ([], ["trial.backbone.uniform_batch_norm=true"])
    )
    assert "uniform_batch_norm" not in plain.hashed()["backbone"]
    assert drawn.hashed()["backbone"]["uniform_batch_norm"] is True
    assert plain.content_hash() != drawn.content_hash()
