import copy
import math
import pickle

import pytest
import torch
from torch import nn

from dks_study.method.backbones import BUILDERS, build_backbone
from dks_study.method.backbones.resnet import BasicBlock
from dks_study.method.streams import derive
from dks_study.spec.backbone import (
    BACKBONES,
    DenseNetSpec,
    MobileNetSpec,
    PreActResNetSpec,
    ResNetSpec,
    VGGSpec,
    WRNSpec,
    check_tap,
    kind_of,
)

SPECS = [
    ResNetSpec(name="resnet", depth=8, base_channels=4),
    ResNetSpec(name="resnet", depth=14, base_channels=6),
    WRNSpec(name="wrn", depth=10, width=1),
    WRNSpec(name="wrn", depth=16, width=2, dropout=0.3),
    PreActResNetSpec(name="preact_resnet", depth=8),
    PreActResNetSpec(name="preact_resnet", depth=11, bottleneck=True),
    DenseNetSpec(name="densenet", depth=10, growth=4),
    DenseNetSpec(name="densenet", depth=16, growth=4, bottleneck=True, reduction=0.5),
    MobileNetSpec(name="mobilenet", width=0.125),
    VGGSpec(name="vgg_bn", depth=11),
]
IMAGES = [(1, 8), (3, 32), (2, 9)]  # (channels, side in pixels)
by_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}{getattr(spec, 'depth', '')}")


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@by_spec
@pytest.mark.parametrize(("channels", "side"), IMAGES)
def test_declared_taps_are_true(spec, channels, side):
    net = build_backbone(spec, channels, 5, seed=0).eval()
    images = torch.randn(2, channels, side, side)
    features = net.walk(images, {tap.name for tap in net.inner_taps})
    assert [tap.name for tap in net.taps] == list(net.stages) == [name for name in features if "." not in name]
    assert features.keys() == {tap.name for tap in (*net.taps, *net.inner_taps)}
    for tap in (*net.taps, *net.inner_taps):
        small = math.ceil(side / tap.stride)
        assert features[tap.name].shape == (2, tap.channels, small, small)
    assert net(images).shape == (2, 5)


@by_spec
def test_the_description_knows_the_taps(spec):
    net = build_backbone(spec, 1, 5, seed=0)
    assert net.blocks_per_stage == spec.blocks_per_stage == tuple(len(stage) for stage in net.stages.values())
    for tap in (*net.taps[:-1], *net.inner_taps):
        check_tap(spec.name, spec.blocks_per_stage, tap.name)
        assert net.tap(tap.name) == tap
    for wrong in (net.taps[-1].name, "stage9", "stage1.99"):
        for check in (net.tap, lambda tap: check_tap(spec.name, spec.blocks_per_stage, tap)):
            with pytest.raises(ValueError, match=f"branches.taps.*got '{wrong}'"):
                check(wrong)


def test_every_name_of_the_description_has_a_builder():
    assert set(BUILDERS) == {kind_of(name) for name in BACKBONES}
    assert {spec.name for spec in SPECS} == {name for name in BACKBONES if ":" not in name}


@by_spec
def test_logits_are_those_of_stem_stages_and_head_in_order(spec):
    net = build_backbone(spec, 1, 5, seed=0).eval()
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(net(images), nn.Sequential(net.stem, *net.stages.values(), net.head)(images))


@by_spec
def test_copies_and_pickles_compute_the_same(spec):
    net = build_backbone(spec, 1, 5, seed=0).eval()
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(copy.deepcopy(net)(images), net(images))
    assert torch.equal(pickle.loads(pickle.dumps(net))(images), net(images))


@by_spec
def test_exported_programs_compute_the_same(spec):
    net = build_backbone(spec, 1, 5, seed=0).eval()
    images = torch.randn(3, 1, 8, 8)
    program = torch.export.export(net, (images,)).module()
    torch.testing.assert_close(program(images), net(images), rtol=1e-6, atol=1e-6)


@by_spec
def test_the_seed_alone_fixes_the_weights(spec):
    torch.manual_seed(1)
    one = build_backbone(spec, 1, 5, seed=3).state_dict()
    torch.manual_seed(2)
    two, other = (build_backbone(spec, 1, 5, seed=seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["head.fc.weight"], other["head.fc.weight"])


@by_spec
def test_initial_weights_follow_their_law(spec):
    net = build_backbone(spec, 3, 5, seed=0)
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all(), name
            assert (module.bias == 0).all(), name
        if isinstance(module, nn.Conv2d):
            assert module.bias is None or (spec.name == "vgg_bn" and not module.bias.any()), name
            forwards = spec.name in ("resnet", "vgg_bn")
            fan = module.out_channels if forwards else module.in_channels // module.groups
            expected = math.sqrt(2 / (fan * module.kernel_size[0] ** 2))
            error = expected * 5 / math.sqrt(2 * module.weight.numel())  # five standard errors
            assert module.weight.std().item() == pytest.approx(expected, abs=error), name


@by_spec
def test_every_parameter_learns(spec):
    net = build_backbone(spec, 1, 5, seed=0)
    net(torch.randn(4, 1, 8, 8)).logsumexp(1).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@pytest.mark.parametrize(
    ("depth", "count"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]
)
def test_resnets_have_the_published_number_of_parameters(depth, count):
    with torch.device("meta"):
        assert parameters(build_backbone(ResNetSpec(name="resnet", depth=depth), 3, 10, seed=0)) == count


@pytest.mark.parametrize(
    ("depth", "width", "classes", "count"), [(16, 1, 10, 175_066), (16, 2, 100, 703_284), (28, 10, 100, 36_536_884)]
)
def test_wrns_have_the_published_number_of_parameters(depth, width, classes, count):
    with torch.device("meta"):
        assert parameters(build_backbone(WRNSpec(name="wrn", depth=depth, width=width), 3, classes, seed=0)) == count


@pytest.mark.parametrize(
    ("spec", "classes", "count"),
    [
        # He et al. (2016b): 1.7 M for ResNet-164
        (PreActResNetSpec(name="preact_resnet", depth=164, bottleneck=True), 10, 1_703_258),
        # Huang et al. (2017), table 2: 1.0 M, 0.8 M
        (DenseNetSpec(name="densenet", depth=40), 10, 1_019_722),
        (DenseNetSpec(name="densenet", depth=100, bottleneck=True, reduction=0.5), 10, 769_162),
        # Howard et al. (2017), table 4: 4.2 M with 1000 classes
        (MobileNetSpec(name="mobilenet"), 1000, 4_231_976),
        # Simonyan and Zisserman's convolutions with batch norm, as torchvision's VGG-16-BN, and one linear layer
        (VGGSpec(name="vgg_bn"), 10, 14_728_266),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_others_have_the_published_number_of_parameters(spec, classes, count):
    with torch.device("meta"):
        assert parameters(build_backbone(spec, 3, classes, seed=0)) == count


def test_the_resnet_shortcut_takes_every_second_pixel_and_pads_with_zeros():
    block = BasicBlock(2, 5, stride=2)
    nn.init.zeros_(block.bn1.weight)  # what is left is relu(shortcut)
    images = torch.rand(1, 2, 5, 5)
    out = block(images)
    assert torch.equal(out[:, :2], images[:, :, ::2, ::2])
    assert not out[:, 2:].any()


def test_a_resnet_block_cannot_lose_channels():
    with pytest.raises(ValueError, match="from 8 to 4 channels"):
        BasicBlock(8, 4, stride=1)


def test_dropout_acts_in_training_only_and_between_the_convolutions():
    spec = WRNSpec(name="wrn", depth=10, width=1, dropout=0.5)
    net = build_backbone(spec, 1, 5, seed=0)
    images = torch.randn(4, 1, 8, 8)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))
    order = [name for name, _ in net.stages["stage1"][0].named_children()]
    assert order.index("conv0") < order.index("dropout") < order.index("conv1")


def test_without_dropout_training_draws_no_random_numbers():
    net = build_backbone(WRNSpec(name="wrn", depth=10, width=1), 1, 5, seed=0)
    torch.manual_seed(derive(0, "test"))
    state = torch.get_rng_state()
    net(torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)
