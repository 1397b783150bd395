"""Every recipe on every family: what grows at a tap, and what is refused."""

import pytest
import torch
from torch import nn

from dks_study.method.backbones import build_backbone
from dks_study.method.growth import Bottleneck
from dks_study.method.networks import build_network
from dks_study.method.synergy import objective_for
from dks_study.spec.backbone import (
    DenseNetSpec,
    ExternalSpec,
    MobileNetSpec,
    PreActResNetSpec,
    ResNetSpec,
    VGGSpec,
    WRNSpec,
)
from dks_study.spec.branches import BranchSpec, branch_layout
from dks_study.spec.loss import LossSpec
from dks_study.spec.trial import DataSpec, RunSpec

# family -> (a small member, a tap before its last but one stage, its last tap, a tap inside a stage)
FAMILIES = {
    "resnet": (ResNetSpec(name="resnet", depth=14, base_channels=4), "stage1", "stage2", "stage2.1"),
    "preact_resnet": (PreActResNetSpec(name="preact_resnet", depth=14), "stage1", "stage2", "stage3.1"),
    "wrn": (WRNSpec(name="wrn", depth=16, width=1, dropout=0.1), "stage1", "stage2", "stage1.1"),
    "densenet": (DenseNetSpec(name="densenet", depth=10, growth=4, reduction=0.5), "stage1", "stage2", "stage2.1"),
    "mobilenet": (MobileNetSpec(name="mobilenet", width=0.125), "stage3", "stage4", "stage4.3"),
    "vgg_bn": (VGGSpec(name="vgg_bn", depth=13), "stage3", "stage4", "stage4.1"),
}
RECIPES = ("paper", "tail", "bottleneck", "linear")
PUBLISHED = [(family, recipe) for family in FAMILIES for recipe in RECIPES if (family, recipe) != ("vgg_bn", "paper")]
by_published = pytest.mark.parametrize(("family", "recipe"), PUBLISHED)


def run_spec(backbone, branches):
    return RunSpec(backbone=backbone, data=DataSpec(name="digits"), branches=branches, epochs=1)


def network(family, recipe, **branches):
    backbone, *taps = FAMILIES[family]
    return build_network(run_spec(backbone, BranchSpec(taps=tuple(taps), recipe=recipe, **branches)), 3, 5, seed=0)


def layout(backbone, tap, recipe="paper", **branches):
    spec = BranchSpec(taps=(tap,), recipe=recipe, **branches)
    return [tuple(stage) for stage in branch_layout(backbone, backbone.blocks_per_stage, spec, tap)]


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@by_published
def test_logits_of_all_classifiers_and_an_untouched_main(family, recipe):
    net = network(family, recipe)
    assert net.names == (*sorted(FAMILIES[family][1:], key=lambda tap: (tap[:6], "." not in tap)), "main")
    images = torch.randn(4, 3, 16, 16)
    logits = net.train()(images)
    assert list(logits) == list(net.names)
    assert all(each.shape == (4, 5) for each in logits.values())
    plain = build_backbone(FAMILIES[family][0], 3, 5, seed=9)
    plain.load_state_dict(net.backbone.state_dict(), strict=True)
    assert torch.equal(net.eval()(images)["main"], plain.eval()(images))


@by_published
def test_every_parameter_learns_so_ddp_finds_no_unused_ones(family, recipe):
    net = network(family, recipe)
    logits = net(torch.randn(4, 3, 16, 16))
    objective_for(LossSpec(), net.names)(logits, torch.tensor([0, 1, 2, 3])).total.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("backbone", "early", "late"),
    [
        (WRNSpec(name="wrn", depth=16, width=8), [(2, 1), (1, 1)], [(2, 2)]),
        (WRNSpec(name="wrn", depth=28, width=10), [(4, 1), (2, 1)], [(4, 2)]),
        (ResNetSpec(name="resnet", depth=32), [(5, 1), (3, 1)], [(5, 2)]),
        (ResNetSpec(name="resnet", depth=110), [(9, 1), (9, 1)], [(18, 2)]),
        (ResNetSpec(name="resnet", depth=1202), [(100, 1), (100, 1)], [(200, 2)]),
        (PreActResNetSpec(name="preact_resnet", depth=164, bottleneck=True), [(18, 1), (9, 1)], [(18, 2)]),
        (DenseNetSpec(name="densenet", depth=40), [(12, 1), (6, 1)], [(12, 3)]),
        (DenseNetSpec(name="densenet", depth=100), [(16, 1), (16, 1)], [(32, 3)]),
        (DenseNetSpec(name="densenet", depth=100, bottleneck=True, reduction=0.5), [(16, 1), (16, 1)], [(32, 3)]),
    ],
    ids=lambda value: f"{value.name}{value.depth}" if hasattr(value, "depth") else "",
)
def test_published_layouts(backbone, early, late):
    assert layout(backbone, "stage1") == early
    assert layout(backbone, "stage2") == late


def test_the_published_mobilenet_branches():
    # Yao and Sun (2020): (512, s2) + 3 x 512, then (1024, s2) + 1024; from the later tap (2048, s2) + 2048.
    backbone = MobileNetSpec(name="mobilenet")
    assert layout(backbone, "stage3") == [(4, 1), (2, 1)]
    assert layout(backbone, "stage4") == [(2, 2)]
    with torch.device("meta"):
        spec = BranchSpec(taps=("stage3", "stage4"))
        net = build_network(run_spec(backbone, spec), 3, 100, seed=0)
    pointwise = [
        [module.out_channels for module in branch.modules() if isinstance(module, nn.Conv2d) and module.groups == 1]
        for branch in net.branches.values()
    ]
    assert pointwise == [[512, 512, 512, 512, 1024, 1024], [2048, 2048]]


def test_a_tail_is_an_equal_copy_of_what_follows():
    for family, (backbone, _, late, _) in FAMILIES.items():
        net = build_network(run_spec(backbone, BranchSpec(taps=(late,), recipe="tail")), 3, 5, seed=0)
        number = int(late.removeprefix("stage"))
        follows = [*list(net.backbone.stages.values())[number:], net.backbone.head]
        assert [parameters(part) for part in net.branches[late]] == [parameters(part) for part in follows], family


def test_a_bottleneck_branch_has_one_block_for_each_stage_left():
    net = network("resnet", "bottleneck", width=2.0)
    (first, second, _), (inside, _), (last, _) = net.branches.values()
    assert all(isinstance(block, Bottleneck) for block in (first, second, last))
    assert isinstance(inside, Bottleneck)
    features = net.eval().backbone.walk(torch.randn(2, 3, 16, 16))
    assert first(features["stage1"]).shape == (2, 8, 8, 8)
    assert second(first(features["stage1"])).shape == (2, 32, 4, 4)  # twice the last stage's 16
    assert last(features["stage2"]).shape == (2, 32, 4, 4)


def test_depth_and_width_are_numbers_to_search():
    backbone = ResNetSpec(name="resnet", depth=32)
    assert layout(backbone, "stage1", "tail") == [(5, 1), (5, 1)]
    assert layout(backbone, "stage1", "tail", depth_factor=0.4) == [(2, 1), (2, 1)]
    assert layout(backbone, "stage1", "tail", depth_factor=0.01) == [(1, 1), (1, 1)]
    assert layout(backbone, "stage1", depth_factor=0.5, width=1.5) == [(3, 1), (2, 1.5)]
    assert layout(backbone, "stage1", blocks={"stage1": (1, 4)}, width_by_tap={"stage1": 3.0}) == [(1, 1), (4, 3)]
    assert layout(backbone, "stage1.4") == layout(backbone, "stage1")
    assert layout(backbone, "stage3.2", "tail") == []


def test_width_multiplies_the_channels_of_the_last_stage():
    net = network("wrn", "tail", width=0.5)
    first, second, _ = net.branches["stage1"].eval()
    middle = first(net.eval().backbone.walk(torch.randn(2, 3, 16, 16))["stage1"])
    assert middle.shape[1] == 32
    assert second(middle).shape[1] == 32  # half of 64


def test_a_branch_inside_a_stage_sees_what_its_block_puts_out():
    net = network("vgg_bn", "linear").eval()
    images = torch.randn(2, 3, 16, 16)
    features = net.backbone.walk(images, ("stage4.1",))
    assert not torch.equal(features["stage4.1"], features["stage4"])
    assert torch.equal(net(images)["stage4.1"], net.branches["stage4_1"](features["stage4.1"]))


@pytest.mark.parametrize(
    ("backbone", "branches", "message"),
    [
        ("resnet", {"taps": ["stage3"]}, r"must be taps of resnet \(stage1, stage2; inside stages: stage1.1 to .1,"),
        ("resnet", {"taps": ["stage3.2"]}, "must be taps of resnet .*got 'stage3.2'"),
        ("resnet", {"taps": ["layer1"]}, "a tap is written stage2, or stage2.3 for inside a stage, got 'layer1'"),
        ("resnet", {"taps": ["stage1"], "depth_factor": 1.5}, "less than or equal to 1"),
        ("resnet", {"taps": ["stage1"], "width": 0.0}, "greater than 0"),
        ("resnet", {"taps": ["stage1"], "blocks": {"stage2": [1]}}, "blocks: must name taps that carry a branch, got "),
        ("resnet", {"taps": ["stage1"], "blocks": {"stage1": [1]}}, r"must give 2 numbers for stage1.*got \[1\]"),
        ("resnet", {"taps": ["stage1"], "blocks": {"stage1": [1, 0]}}, "greater than or equal to 1"),
        (
            "resnet",
            {"taps": ["stage1"], "recipe": "linear", "width": 2.0},
            "width: must be left out with recipe linear",
        ),
        ("wrn", {"taps": ["stage1"], "recipe": "bottleneck", "depth_factor": 0.5}, "depth_factor: must be left out"),
        (
            "vgg_bn",
            {"taps": ["stage1"], "recipe": "paper"},
            "recipe: must be tail, bottleneck or linear at stage1: .* not published",
        ),
        (
            "mobilenet",
            {"taps": ["stage1"], "recipe": "paper"},
            "the paper recipe is published for stage3, stage4 in mobilenet",
        ),
    ],
)
def test_what_cannot_grow_is_refused(backbone, branches, message):
    values = {"backbone": FAMILIES[backbone][0].model_dump(), "branches": branches, "data": {"name": "digits"}}
    with pytest.raises(ValueError, match=message):
        RunSpec.model_validate({**values, "epochs": 1}, strict=False)


def test_a_narrower_branch_of_a_zero_padded_resnet_is_refused():
    with pytest.raises(ValueError, match=r"branches\.width: .* cannot go from 8 to 4 channels"):
        network("resnet", "tail", width=0.25)


def test_names_of_networks_from_elsewhere_are_checked_when_they_are_built():
    spec = run_spec(ExternalSpec(name="torchvision:resnet18"), BranchSpec(taps=("stage7",)))
    assert spec.classifiers == ("stage7", "main")
