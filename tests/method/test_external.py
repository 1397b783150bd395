"""One contract for networks that are written elsewhere: torchvision's, timm's and a user's own."""

import copy
import pickle
import re

import pytest
import torch
from torchvision import models

from dks_study.method.backbones import build_backbone
from dks_study.method.backbones.discover import discover
from dks_study.method.backbones.external import External
from dks_study.method.networks import build_network
from dks_study.spec.backbone import ExternalSpec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.trial import DataSpec, RunSpec
from dks_study.training.cost import count_cost

slow = pytest.mark.slow
DECLARED = (
    *("resnet18", "resnext50_32x4d", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5"),
    *("vgg11_bn", "efficientnet_b0", "regnet_x_400mf", "convnext_tiny", "mnasnet0_5", "googlenet"),
)
MORE = (
    *("resnet34", "resnet50", "resnet101", "resnet152", "resnext101_32x8d", "wide_resnet50_2", "densenet161"),
    *("mobilenet_v3_large", "shufflenet_v2_x2_0", "vgg13_bn", "vgg16_bn", "vgg19_bn", "efficientnet_b7"),
    *("efficientnet_v2_s", "efficientnet_v2_l", "regnet_y_400mf", "regnet_y_32gf", "convnext_large", "mnasnet1_3"),
)
# One small network of each family, with its blocks per stage; the last ones are not declared but seen to run.
SMALL = {
    "torchvision:resnet18": (2, 2, 2, 2),
    "torchvision:densenet121": (1, 2, 2, 2),
    "torchvision:mobilenet_v2": (1, 2, 3, 7, 5),
    "torchvision:mobilenet_v3_small": (1, 2, 5, 4),
    "torchvision:shufflenet_v2_x0_5": (4, 8, 5),
    "torchvision:efficientnet_b0": (1, 2, 2, 6, 6),
    "torchvision:regnet_y_400mf": (1, 3, 6, 6),
    "torchvision:mnasnet0_5": (3, 3, 5, 6),
    "torchvision:googlenet": (2, 5, 2),
    "torchvision:squeezenet1_0": (3, 4, 1),
    "own_networks:WithStages": (2, 2),
    "own_networks:Plain": (1, 1),
}
by_name = pytest.mark.parametrize("name", SMALL)
QUICK = ("torchvision:mobilenet_v2", "own_networks:Plain")  # to export
LARGE = ("vgg11_bn", "convnext_tiny", "resnext50_32x4d", "wide_resnet50_2", "efficientnet_v2_s", "inception_v3")
TIMM = {"timm:seresnet18": (2, 2, 2, 2), "timm:dpn68": (1, 3, 4, 12, 3), "timm:mobilenetv3_small_050": (1, 2, 5, 4)}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def backbone(name, in_channels=3, classes=5, seed=0, **options):
    return build_backbone(ExternalSpec(name=name, options=options), in_channels, classes, seed)


def network(name, taps=("stage1",), recipe="tail", classes=5, **branches):
    spec = RunSpec(
        backbone=ExternalSpec(name=name),
        data=DataSpec(name="digits"),
        branches=BranchSpec(taps=taps, recipe=recipe, **branches),
        epochs=1,
    )
    return build_network(spec, 3, classes, seed=0)


@pytest.fixture(scope="module")
def built():
    return {name: backbone(name).eval() for name in SMALL}


@pytest.mark.parametrize("name", [*DECLARED, *(pytest.param(name, marks=slow) for name in MORE)])
def test_torchvision_s_networks_have_their_published_size_and_true_taps(name):
    with torch.device("meta"):
        net = backbone(f"torchvision:{name}", classes=1000)
    assert parameters(net) == models.get_model_weights(name).DEFAULT.meta["num_params"]
    images = torch.empty(2, 3, 224, 224, device="meta")
    features = net.eval().walk(images, {tap.name for tap in net.inner_taps})
    assert features.keys() == {tap.name for tap in (*net.taps, *net.inner_taps)}
    for tap in (*net.taps, *net.inner_taps):
        assert features[tap.name].shape == (2, tap.channels, 224 // tap.stride, 224 // tap.stride)
    strides = [tap.stride for tap in net.taps]
    assert strides == sorted(set(strides))  # a stage is what has a resolution of its own
    assert net(images).shape == (2, 1000)


def check_contract(net, pixels=64):
    """Walked or run as it is, before and after training statistics: the same numbers."""
    images = torch.rand(2, net.in_channels, pixels, pixels)
    with torch.no_grad():
        net.train()(images)
        net.eval()
        expected = net.plain()(images)
        assert torch.equal(net(images), expected)
        twin = pickle.loads(pickle.dumps(copy.deepcopy(net)))
        assert torch.equal(twin(images), expected)
        assert net.state_dict().keys() == {f"model.{key}" for key in net.plain().state_dict()}


@by_name
def test_main_is_the_untouched_network_bit_for_bit(name, built):
    assert built[name].blocks_per_stage == SMALL[name]
    check_contract(built[name])


@slow
@pytest.mark.parametrize("name", LARGE)
def test_main_of_larger_networks_is_untouched_too(name):
    net = backbone(f"torchvision:{name}")
    check_contract(net, pixels=96)
    images = torch.rand(2, 3, 96, 96)
    program = torch.export.export(net, (images,)).module()
    torch.testing.assert_close(program(images), net(images), rtol=1e-4, atol=1e-4)


@by_name
def test_features_are_not_changed_by_what_runs_after_them(name, built):
    net, images = built[name], torch.rand(1, 3, 64, 64)
    inner = {tap.name for tap in net.inner_taps}
    with torch.no_grad():
        kept = {key: value.clone() for key, value in net.walk(images, inner).items()}
        current, seen = images, {}
        for step in net.layout.stem:
            current = net.model.get_submodule(step)(current)
        for number, stage in enumerate(net.layout.stages, start=1):
            for position, block in enumerate(stage, start=1):
                for step in block:
                    current = net.model.get_submodule(step)(current) if step[0] != ":" else torch.relu(current)
                seen[f"stage{number}.{position}"] = seen[f"stage{number}"] = current.clone()
    assert all(torch.equal(value, seen[key]) for key, value in kept.items())


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=slow) for name in SMALL], ids=str)
def test_exported_programs_compute_the_same(name, built):
    images = torch.rand(2, 3, 64, 64)
    program = torch.export.export(built[name], (images,)).module()
    torch.testing.assert_close(program(images), built[name](images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", pytest.param("convnext_tiny", marks=slow)])
def test_what_is_seen_agrees_with_what_is_declared(name):
    net = backbone(f"torchvision:{name}").eval()
    seen = discover(net.model, torch.randn(1, 3, 224, 224))
    ends = [stage[-1][-1] for stage in seen.stages]
    assert ends == [stage[-1][-1] for stage in net.layout.stages]
    assert seen.head[-1] == net.layout.head[-1]


@slow
@pytest.mark.parametrize("name", TIMM)
def test_timm_s_networks_keep_the_contract(name):
    pytest.importorskip("timm", reason="the extra timm is not installed")
    net = backbone(name)
    assert net.blocks_per_stage == TIMM[name]
    check_contract(net)
    grey = backbone(name, in_channels=1)
    assert grey.plain()(torch.rand(2, 1, 64, 64)).shape == (2, 5)


def test_options_reach_the_constructor_and_the_seed_fixes_the_weights():
    with torch.device("meta"):
        assert backbone("torchvision:resnet18", width_per_group=64).taps[0].channels == 64
    wide = backbone("own_networks:WithStages", width=6)
    assert wide.taps[0].channels == 6
    one, two, other = (backbone("own_networks:WithStages", seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["model.head.2.weight"], other["model.head.2.weight"])


def test_grey_images_are_shown_as_rgb(built):
    grey = backbone("torchvision:resnet18", in_channels=1).eval()
    images = torch.rand(2, 1, 64, 64)
    assert torch.equal(grey(images), grey.plain()(images.repeat(1, 3, 1, 1)))


# --- branches ---


@by_name
@pytest.mark.parametrize("recipe", ["tail", "bottleneck", "linear"])
def test_branches_grow_at_every_stage_and_inside(name, recipe, built):
    source = built[name]
    taps = tuple(tap.name for tap in (*source.taps[:-1], *source.inner_taps))
    taps = (taps[0], taps[-1]) if len(taps) > 1 else taps
    net = network(name, taps, recipe)  # not on the meta device: its batch norm takes longer than a real one
    with torch.no_grad():
        logits = net(torch.rand(2, 3, 64, 64))
    assert tuple(logits) == net.names
    assert all(each.shape == (2, 5) for each in logits.values())


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [("resnet18", 53.5, 3.92), ("resnet50", 100.5, 8.32), pytest.param("resnet152", 151.9, 19.02, marks=slow)],
)
def test_resnets_with_branches_cost_what_dhm_s_table_costs(name, params, macs):
    # Trained parameters in millions, forward multiply-accumulates per image in billions, of Li and Chen's branches.
    with torch.device("meta"):
        net = network(f"torchvision:{name}", ("stage2", "stage3"), "paper", classes=1000)
    cost = count_cost(net, (3, 224, 224))
    assert cost.params_train / 1e6 == pytest.approx(params, abs=0.06)
    assert cost.macs_train / 1e9 == pytest.approx(macs, abs=0.006)


def test_a_tail_has_fresh_weights_of_the_network_s_own_law():
    net = network("torchvision:mobilenet_v2", ("stage3",), "tail")
    stage, last, _ = net.branches["stage3"]
    own = net.backbone.model.features
    assert [type(block) for block in stage] == [type(block) for block in own[7:14]]
    assert parameters(stage) == parameters(own[7:14])
    assert not torch.equal(stage[0].conv[0][0].weight, own[7].conv[0][0].weight)
    assert parameters(last) == parameters(own[14:])


def test_a_shallower_tail_keeps_what_changes_the_shape():
    net = network("torchvision:mobilenet_v2", ("stage3",), "tail", depth_factor=0.5)
    stage, last, _ = net.branches["stage3"]
    assert (len(stage), len(last)) == (4, 3)  # of 7 and 5
    net.eval()(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("torchvision:resnet81", {}, r"backbone\.name: .* did you mean resnet18\?, got 'torchvision:resnet81'"),
        ("torchvision:fcn_resnet50", {}, "backbone.name: must be a classification network"),
        ("torchvision:resnet18", {"depth": 3}, "backbone.options: must be what torchvision:resnet18 takes"),
        ("nowhere.at_all:Net", {}, "backbone.name: must be an importable package.module:callable"),
        ("own_networks:Nothing", {}, "backbone.name: must be an importable package.module:callable"),
        ("own_networks:not_a_network", {}, "must return a torch.nn.Module, got str"),
        ("own_networks:exits", {}, "backbone.name: must be a network that can be made, .*: SystemExit: 0$"),
        ("own_networks:forgets", {}, "backbone.name: must be a network that can be made, .*: KeyError: 'two"),
        ("own_networks:asks_for_too_much", {}, "backbone.name: must be a network .*: can't allocate memory: you tried"),
        ("own_networks:wants_more", {}, "backbone.options: must be what .* TypeError: two lines$"),
        ("own_networks:never_implemented", {}, "backbone.name: must be a .*: NotImplementedError: two lines$"),
        ("own_networks:without_weights", {}, "backbone.name: must have weights to train, got none"),
        ("own_networks:frozen", {}, "backbone.name: must have weights to train, got none"),
        ("own_networks:in_halves", {}, "backbone.name: must have weights in float32, got torch.float16"),
        ("own_networks:lazy", {}, r"backbone.name: must have weights of known shapes, got lazy 1\.weight"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        backbone(name, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("torchvision:vit_b_16", "not a chain of modules", marks=slow),
        pytest.param("torchvision:swin_t", r"not \[B, C, H, W\]", marks=slow),
        ("own_networks:Skips", "not a chain of modules"),
        ("own_networks:Crooked", "do not compute what the network computes"),
        ("own_networks:NoHead", "it has stages, but no module named head"),
    ],
)
def test_a_stage_of_what_cannot_be_walked_is_refused_with_the_way_out(name, message):
    way = r"; name modules as taps, or give it `stages` and a `head` \(and perhaps a `stem`\) that run in turn$"
    with pytest.raises(ValueError, match=rf"^backbone\.name: must be a network with stages .*: .*{message}.*{way}"):
        network(name, ("stage1",))


@pytest.mark.parametrize(
    ("code", "reason"),
    [("def net(:\n", "SyntaxError: invalid syntax"), ("import sys\nsys.exit(3)\n", "SystemExit: 3$")],
)
def test_a_module_that_cannot_be_imported_is_refused_in_one_line(tmp_path, monkeypatch, code, reason):
    (tmp_path / "broken_network.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ValueError, match=r"^backbone\.name: must be an importable .*'broken_network:net': " + reason
    ) as error:
        backbone("broken_network:net")
    assert "\n" not in str(error.value)


def test_a_network_that_ends_the_process_when_it_runs_is_refused():
    with pytest.raises(ValueError, match=r"^backbone\.name: must run on the data's images, .*: SystemExit: 0$"):
        network("own_networks:ExitsLater", ())


def test_branches_that_cannot_grow_are_refused():
    with pytest.raises(ValueError, match=r"branches\.recipe: must be tail, bottleneck or linear at stage1: the paper"):
        network("torchvision:mobilenet_v2", ("stage1",), "paper")
    with pytest.raises(ValueError, match=re.escape("branches.width: must be 1 or left out: the stages of torch")):
        network("torchvision:mobilenet_v2", ("stage1",), "tail", width=2.0)
    with pytest.raises(ValueError, match=r"branches\.blocks: stage5 of .* has 5 blocks, 3 of which change"):
        network("torchvision:mobilenet_v2", ("stage4",), "tail", blocks={"stage4": (1,)})
    with pytest.raises(ValueError, match=r"branches\.taps: this backbone has the taps stage1, .*got 'stage7'"):
        network("torchvision:resnet18", ("stage7",), "linear")
    with pytest.raises(ValueError, match="take 1 or 3 channels, got 2"):
        External(ExternalSpec(name="torchvision:resnet18"), 2, 5)


def test_weights_channels_and_classes_are_not_options():
    with pytest.raises(ValueError, match=r"weights cannot be set: weights are backbone\.weights"):
        ExternalSpec(name="torchvision:resnet18", options={"weights": "DEFAULT"})
