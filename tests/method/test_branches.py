import copy
import pickle

import numpy as np
import pytest
import torch
from pseudo import pseudo, pseudo_weight, reference

from dks_study.method.backbones import build_backbone
from dks_study.method.branches import BranchedNet
from dks_study.method.networks import build_network
from dks_study.method.synergy import objective_for
from dks_study.spec.backbone import ResNetSpec, WRNSpec
from dks_study.spec.branches import BranchSpec, branch_layout
from dks_study.spec.loss import LossSpec
from dks_study.spec.trial import DataSpec, RunSpec

RESNET = ResNetSpec(name="resnet", depth=8, base_channels=4)
WRN = WRNSpec(name="wrn", depth=10, width=1, dropout=0.3)
TAP_SETS = [(), ("stage1",), ("stage2",), ("stage1", "stage2")]
BOTH = ("stage2", "stage1")  # out of order on purpose
by_backbone = pytest.mark.parametrize("backbone", [RESNET, WRN], ids=lambda spec: spec.name)
by_recipe = pytest.mark.parametrize("recipe", ["paper", "linear"])


def run_spec(backbone, taps=BOTH, recipe="paper"):
    branches = BranchSpec(taps=taps, recipe=recipe)
    return RunSpec(backbone=backbone, data=DataSpec(name="digits"), branches=branches, epochs=1)


def network(backbone, taps=BOTH, recipe="paper", classes=5, seed=0, channels=1):
    return build_network(run_spec(backbone, taps, recipe), channels, classes, seed)


def wrn(depth, width):
    return WRNSpec(name="wrn", depth=depth, width=width)


def resnet(depth):
    return ResNetSpec(name="resnet", depth=depth)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


# --- parity with the published code ---


def our_name(theirs):
    """Translate a parameter's name in the published code to ours."""
    exits = {"ep1_group1": "branches.stage1.0", "ep1_group2": "branches.stage1.1", "ep2_group2": "branches.stage2.0"}
    groups = {f"group{i}": f"backbone.stages.stage{i + 1}" for i in range(3)}
    heads = {"": "backbone.head", "ep1_": "branches.stage1.2", "ep2_": "branches.stage2.1"}
    prefixes = {
        **exits,
        **groups,
        **{f"{ep}{part}": f"{head}.{part}" for ep, head in heads.items() for part in ("bn", "fc")},
    }
    first, *rest = theirs.replace("convdim", "shortcut").replace("block", "").split(".")
    ours = ".".join(["backbone.stem" if first == "conv0" else prefixes[first], *rest])
    return ours if ours.endswith((".weight", ".bias")) else f"{ours}.weight"


@pytest.fixture(scope="module")
def published():
    return reference("dks_wrn16_1.json")


@pytest.fixture(scope="module")
def trained(published):
    """Four SGD steps from the published start: (loss terms of every step, logits and gradient norms of step 0)."""
    net = network(wrn(16, 1), classes=10, channels=3).double().train()
    state = {our_name(name): pseudo_weight(name, tuple(shape)) for name, shape in published["parameters"].items()}
    ours = dict(net.named_parameters())
    assert {name: tuple(value.shape) for name, value in state.items()} == {n: tuple(p.shape) for n, p in ours.items()}
    net.load_state_dict(state, strict=False)
    images = pseudo("input", (published["batch"], 3, 32, 32)) * 2 - 1
    targets = torch.tensor(published["targets"])
    settings = {key: published[key] for key in ("lr", "momentum", "weight_decay")}
    optimiser = torch.optim.SGD(net.parameters(), **settings)
    objective, steps, first = objective_for(LossSpec(), net.names), [], {}
    for _ in published["steps"]:
        optimiser.zero_grad()
        logits = net(images)
        steps.append(objective(logits, targets))
        steps[-1].total.backward()
        first = first or {
            "logits": torch.stack([each[0].detach() for each in logits.values()]),
            "norms": {name: parameter.grad.norm().item() for name, parameter in ours.items()},
        }
        optimiser.step()
    return steps, first


def test_four_training_steps_agree_with_the_published_code(published, trained):
    steps, _ = trained
    assert len(steps) == 4
    for terms, expected in zip(steps, published["steps"], strict=True):
        assert terms.total.item() == pytest.approx(expected["loss"], rel=1e-5)
        assert terms.supervised.tolist() == pytest.approx(expected["cross_entropy"], rel=1e-5)
        assert terms.synergy.numpy() == pytest.approx(np.array(expected["kl_teacher_student"]), rel=1e-5)


def test_first_logits_and_gradients_agree_with_the_published_code(published, trained):
    _, first = trained
    expected = published["steps"][0]
    assert first["logits"].numpy() == pytest.approx(np.array(expected["logits_sample0"]), rel=1e-5)
    norms = {our_name(name): norm for name, norm in expected["grad_norm"].items()}
    assert norms.keys() == first["norms"].keys()
    assert first["norms"] == pytest.approx(norms, rel=1e-5)


@pytest.mark.parametrize(
    ("spec", "classes", "alone", "with_branches"),
    [
        (wrn(16, 1), 10, 175_066, 752_078),
        (wrn(16, 2), 100, 703_284, 3_038_908),
        (wrn(28, 10), 100, 36_536_884, 164_146_364),
    ],
)
def test_parameter_counts_agree_with_the_published_code(spec, classes, alone, with_branches):
    with torch.device("meta"):
        net = network(spec, classes=classes, channels=3)
    assert parameters(net.backbone) == alone
    assert parameters(net) == with_branches
    if spec.depth == 28:
        assert [parameters(branch) for branch in net.branches.values()] == [20_145_060, 107_464_420]


# --- recipes ---


@pytest.mark.parametrize(
    ("spec", "early", "late"),
    [
        (wrn(10, 1), (1, 1), (1,)),
        (wrn(16, 8), (2, 1), (2,)),
        (wrn(22, 1), (3, 1), (3,)),
        (wrn(28, 10), (4, 2), (4,)),
        (resnet(8), (1, 1), (1,)),
        (resnet(20), (3, 2), (3,)),
        (resnet(32), (5, 3), (5,)),
        (resnet(110), (9, 9), (18,)),
        (resnet(1202), (100, 100), (200,)),
    ],
    ids=lambda value: f"{value.name}{value.depth}" if hasattr(value, "depth") else "",
)
def test_blocks_of_the_branches(spec, early, late):
    late_width = 3 if spec.name == "densenet" else 2
    for position, blocks in ((1, early), (2, late)):
        tap = f"stage{len(spec.blocks_per_stage) - 3 + position}"
        growth = branch_layout(spec, spec.blocks_per_stage, BranchSpec(taps=(tap,)), tap)
        assert tuple(stage.blocks for stage in growth) == blocks
        assert [stage.width for stage in growth] == ([1, 1] if position == 1 else [late_width])


@by_backbone
def test_branches_are_built_as_the_recipe_says(backbone):
    net = network(backbone)
    widths = [tap.channels for tap in net.backbone.taps]
    features = net.backbone.eval().walk(torch.randn(2, 1, 8, 8))
    first, second, head = net.branches["stage1"].eval()
    middle = first(features["stage1"])
    assert middle.shape[1:] == (widths[1], 4, 4)
    assert second(middle).shape[1:] == (widths[2], 2, 2)
    assert head(second(middle)).shape == (2, 5)
    wide, _ = net.branches["stage2"].eval()
    assert wide(features["stage2"]).shape[1:] == (2 * widths[2], 2, 2)


@by_backbone
def test_a_linear_branch_is_the_family_s_head(backbone):
    net = network(backbone, recipe="linear")
    for tap, branch in zip(net.backbone.taps, net.branches.values(), strict=False):
        batch_norm = 2 * tap.channels if backbone.name == "wrn" else 0
        assert parameters(branch) == 5 * (tap.channels + 1) + batch_norm


# --- the contract of BranchedNet ---


@by_backbone
@by_recipe
@pytest.mark.parametrize("taps", TAP_SETS)
def test_logits_come_shallow_to_deep_main_last(backbone, recipe, taps):
    net = network(backbone, taps, recipe)
    logits = net(torch.randn(4, 1, 8, 8))
    assert tuple(logits) == net.names == run_spec(backbone, taps).classifiers == (*taps, "main")
    assert all(each.shape == (4, 5) for each in logits.values())


@by_backbone
def test_order_does_not_depend_on_the_order_of_the_description(backbone):
    assert network(backbone, ("stage2", "stage1")).names == network(backbone, ("stage1", "stage2")).names


@by_backbone
@by_recipe
def test_main_is_the_bare_backbone_bit_for_bit(backbone, recipe):
    net = network(backbone, recipe=recipe).train()
    with torch.no_grad():
        net(torch.randn(8, 1, 8, 8))  # so that running statistics are not those of a fresh network
    plain = build_backbone(backbone, 1, 5, seed=99)
    plain.load_state_dict(net.backbone.state_dict(), strict=True)
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(net.eval()(images)["main"], plain.eval()(images))


@by_backbone
@pytest.mark.parametrize("taps", TAP_SETS)
def test_equal_parts_start_equal_whatever_else_is_built(backbone, taps):
    plain, full, some = network(backbone, ()), network(backbone, BOTH), network(backbone, taps)
    for key, value in plain.state_dict().items():
        assert torch.equal(some.state_dict()[key], value)
    for key, value in some.state_dict().items():
        assert torch.equal(full.state_dict()[key], value)


@by_backbone
def test_branches_do_not_start_as_copies_of_one_another(backbone):
    net = network(backbone)
    early, main = net.branches["stage1"][0][0].conv0.weight, net.backbone.stages["stage2"][0].conv0.weight
    assert early.shape == main.shape
    assert not torch.equal(early, main)
    other_seed = network(backbone, seed=1).branches["stage1"][0][0].conv0.weight
    assert not torch.equal(early, other_seed)


def test_branches_draw_from_streams_of_their_own():
    net = network(RESNET, recipe="linear")
    # Uniform in +-1/sqrt(fan-in): scaled to +-1, one stream would give both layers the same first values.
    early, late = (
        (branch[0].fc.weight * branch[0].fc.in_features ** 0.5).flatten() for branch in net.branches.values()
    )
    assert not torch.isclose(early, late[: len(early)], atol=1e-3).all()


@pytest.mark.parametrize("taps", TAP_SETS)
def test_branches_do_not_change_the_backbone_s_dropout(taps):
    images = torch.randn(4, 1, 8, 8)
    seen = []
    for net in (network(WRN, ()), network(WRN, taps)):
        torch.manual_seed(11)
        seen.append(net.train()(images)["main"])
    assert torch.equal(*seen)
    torch.manual_seed(12)
    assert not torch.equal(net(images)["main"], seen[0])


@by_backbone
def test_copies_and_pickles_compute_the_same(backbone):
    net = network(backbone).eval()
    images = torch.randn(3, 1, 8, 8)
    expected = net(images)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin.names == net.names
        assert all(torch.equal(value, expected[name]) for name, value in twin(images).items())


@by_backbone
def test_exported_programs_compute_the_same(backbone):
    net = network(backbone).eval()
    images = torch.randn(3, 1, 8, 8)
    exported, expected = torch.export.export(net, (images,)).module()(images), net(images)
    assert list(exported) == list(expected)
    for name in expected:
        torch.testing.assert_close(exported[name], expected[name], rtol=1e-6, atol=1e-6)


@by_backbone
@by_recipe
def test_every_parameter_learns_so_ddp_finds_no_unused_ones(backbone, recipe):
    net = network(backbone, recipe=recipe)
    logits = net(torch.randn(4, 1, 8, 8))
    objective_for(LossSpec(), net.names)(logits, torch.tensor([0, 1, 2, 3])).total.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@by_backbone
def test_a_branch_teaches_only_what_lies_below_its_tap(backbone):
    net = network(backbone)
    net(torch.randn(4, 1, 8, 8))["stage1"].logsumexp(1).sum().backward()
    touched = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    below = ("backbone.stem.", "backbone.stages.stage1.", "branches.stage1.")
    assert touched == {name for name, _ in net.named_parameters() if name.startswith(below)}


def test_unknown_taps_are_refused():
    backbone = build_backbone(RESNET, 1, 5, seed=0)
    with pytest.raises(ValueError, match="stage9"):
        BranchedNet(backbone, {"stage9": backbone.new_head(4)})
