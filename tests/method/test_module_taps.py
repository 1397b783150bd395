"""Studies of networks that are no chain of modules: tapped by name, counted, trained and exported."""

import pickle

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from dks_study.method.backbones import Watched, build_backbone
from dks_study.method.growth import Bottleneck
from dks_study.method.networks import build_network
from dks_study.method.synergy import objective_for
from dks_study.spec.backbone import ExternalSpec, ResNetSpec
from dks_study.spec.branches import BranchSpec, auto_recipes
from dks_study.spec.loss import LossSpec
from dks_study.spec.trial import DataSpec, RunSpec, TrialSpec
from dks_study.study.export import export, load_trained
from dks_study.study.trial import run_trial
from dks_study.training.cost import count_cost

# network -> (taps, key that says which output is the logits)
NETWORKS = {
    "own_networks:TupleOut": (("a", "b"), None),
    "own_networks:DictOut": (("a",), "logits"),
    "own_networks:ObjectOut": (("b",), None),
    "own_networks:Shared": (("stem", "block"), None),
    "own_networks:Skips": (("one.0", "two"), None),
    "own_networks:Crooked": (("stem", "stages.early.0"), None),
    "own_networks:NamedStages": (("stage1", "stage2"), None),
    "own_networks:Functional": (("a", "b"), None),
    "torchvision:mobilenet_v3_small": (("features.3", "features.8"), None),
}
SLOW = "torchvision:mobilenet_v3_small"
by_name = pytest.mark.parametrize(
    "name", [n if n != SLOW else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS]
)
pytestmark = pytest.mark.usefixtures("one_thread")


def run_spec(name, taps=None, classes_of=RunSpec, **more):
    given, output = NETWORKS.get(name, ((), None))
    branches = BranchSpec(taps=given if taps is None else taps, **more.pop("branches", {}))
    values = {"backbone": ExternalSpec(name=name, output=output), "data": DataSpec(name="digits"), "epochs": 1}
    return classes_of(**values, branches=branches, **more)


def build(name, taps=None, channels=3, pixels=(16, 16), **branches):
    return build_network(run_spec(name, taps, branches=branches), channels, 5, 0, pixels)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@by_name
@pytest.mark.parametrize("recipe", ["auto", "linear"])
def test_modules_are_tapped_and_main_is_the_network_s_own(name, recipe):
    net = build(name, recipe=recipe)
    assert net.names == (*NETWORKS[name][0], "main")
    images = torch.rand(4, 3, 16, 16)
    logits = net.eval()(images)
    assert all(each.shape == (4, 5) for each in logits.values())
    alone = build_backbone(ExternalSpec(name=name, output=NETWORKS[name][1]), 3, 5, seed=9).eval()
    alone.plain().load_state_dict(net.backbone.plain().state_dict(), strict=True)
    assert torch.equal(alone(images), logits["main"])
    assert same(pickle.loads(pickle.dumps(net))(images), logits)
    kinds = {type(branch[0]) for branch in net.branches.values()}
    assert (kinds == {Bottleneck}) == (recipe == "auto")
    objective_for(LossSpec(), net.names)(net.train()(images), torch.tensor([0, 1, 2, 3])).total.backward()
    # Skips has a norm that it never runs
    assert all(parameter.grad is not None for key, parameter in net.named_parameters() if ".norm." not in key)


@by_name
def test_costs_are_counted_without_data(name):
    with torch.device("meta"):
        net = build(name)
    cost = count_cost(net, (3, 16, 16))
    assert cost.params_train > cost.params_inference == sum(p.numel() for p in net.plain().parameters())
    assert cost.macs_train > cost.macs_inference > 0


def test_initial_weights_are_those_of_the_network_without_branches():
    plain = build("own_networks:TupleOut", ()).plain().state_dict()
    assert same(build("own_networks:TupleOut").plain().state_dict(), plain)


def test_a_network_that_takes_one_size_alone_is_built_for_it():
    assert build("own_networks:OneSize", ("one",), pixels=(8, 8))(torch.rand(2, 3, 8, 8))["one"].shape == (2, 5)
    with pytest.raises(
        ValueError, match=r"^backbone.name: must run on the data's images, .*got 'own_networks:OneSize'"
    ):
        build("own_networks:OneSize", ("one",))


def test_grey_images_are_shown_to_torchvision_as_rgb():
    net = build("torchvision:mobilenet_v3_small", ("features.3",), channels=1).eval()
    grey = torch.rand(2, 1, 32, 32)
    assert torch.equal(net(grey)["main"], net.plain()(grey.repeat(1, 3, 1, 1)))


def test_stages_of_a_chain_are_still_walked():
    assert not isinstance(build("own_networks:WithStages", ("stage1",), recipe="tail").backbone, Watched)


@pytest.mark.parametrize("name", ["Functional", "Nested", "WithStages", "Plain"])
def test_stages_of_a_chain_grow_its_own_blocks_without_one_more_key(name):
    net = build(f"own_networks:{name}", ("stage1",))
    assert not any(isinstance(module, Bottleneck) for module in net.modules())
    assert len(net.branches["stage1"]) > 1
    assert net(torch.rand(2, 3, 16, 16))["stage1"].shape == (2, 5)


def test_what_auto_comes_to_is_known_from_the_description():
    def auto(backbone, *taps):
        return auto_recipes(backbone, BranchSpec(taps=taps))

    resnet18 = ExternalSpec(name="torchvision:resnet18")
    assert auto(ResNetSpec(name="resnet", depth=8), "stage2", "stage1") == "paper at stage1, stage2"
    assert auto(resnet18, "stage1", "stage2") == "tail at stage1; paper at stage2"
    assert auto(resnet18, "layer2", "layer3") == "bottleneck at layer2, layer3"
    own = ExternalSpec(name="own_networks:Functional")
    assert auto(own, "stage1") == "tail (bottleneck if its stages cannot be found) at stage1"
    assert auto(own, "a") == "bottleneck at a"
    assert auto(resnet18) == ""
    assert auto_recipes(resnet18, BranchSpec(taps=("stage2",), recipe="paper")) == ""


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("TupleOut", {"taps": ("b", "a")}, r"branches.taps: must be listed as they run .*, got b, a"),
        ("TupleOut", {"taps": ("d",)}, r"branches.taps: must be modules .* a, b, c; got 'd'"),
        ("TupleOut", {"taps": ("fc",)}, r"branches.taps: must be modules .*; got 'fc'"),
        ("TupleOut", {"taps": ("stage1",)}, "backbone.name: .*; name modules as taps, or"),
        ("TupleOut", {"taps": ("a", "stage1")}, "branches.taps: must be modules that run .* got 'stage1'"),
        ("TupleOut", {"taps": ("a",), "recipe": "tail"}, "branches.recipe: .* at a, .* 'tail'"),
        ("TupleOut", {"taps": ("a",), "recipe": "paper"}, "branches.recipe: .* at a, .* 'paper'"),
        ("TupleOut", {"taps": ("a",), "blocks": {"a": (1,)}}, "branches.blocks: must be left out with"),
        ("DictOut", {"taps": ("a",), "output": None}, "backbone.output: must say .* scaled .* logits"),
        ("DictOut", {"taps": (), "output": "losses"}, "backbone.output: must say .* got 'losses'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(name, arguments, message):
    values = dict(arguments)
    backbone = ExternalSpec(name=f"own_networks:{name}", output=values.pop("output", None))
    run = RunSpec(backbone=backbone, data=DataSpec(name="digits"), epochs=1, branches=BranchSpec(**values))
    with pytest.raises(ValueError, match="^" + message) as caught:
        build_network(run, 3, 5, 0, (16, 16))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        ("a b", r"branches.taps: a tap is a stage \(stage2, stage2.3\) or a module \(layer2.0\), got 'a b'"),
        ("main", "branches.taps: main, teacher, peer and ensemble name other classifiers, got 'main'"),
        ("head.main", "name other classifiers"),
        ("teacher.conv", "name other classifiers"),
        ("peer1.conv", "name other classifiers"),
        ("peers", "name other classifiers"),
        ("ensemble", "name other classifiers"),
    ],
)
def test_names_that_mean_something_else_are_refused(tap, message):
    with pytest.raises(ValueError, match=message):
        run_spec("own_networks:TupleOut", (tap,))


def test_classifiers_of_stages_are_sorted_and_modules_stay_as_they_are_listed():
    assert run_spec("own_networks:Functional", ("stage2", "stage1.1")).classifiers == ("stage1.1", "stage2", "main")
    assert run_spec("own_networks:Functional", ("b", "a")).classifiers == ("b", "a", "main")


# --- from training to what is taken away ---


@pytest.mark.parametrize("name", ["own_networks:TupleOut", "own_networks:DictOut", "own_networks:OneSize"])
def test_a_trial_is_trained_and_its_backbone_exported(name, tmp_path):
    taps = NETWORKS.get(name, (("one",), None))[0]
    trial = run_spec(name, taps, TrialSpec, phase="confirm", seed=0, branches={"recipe": "linear"})
    reported = []
    run_trial(trial, tmp_path, torch.device("cpu"), reported.append)
    assert {f"test/top1/{tap}" for tap in (*taps, "main")} <= reported[-1].keys()
    assert reported[-1]["cost/params_train"] > reported[-1]["cost/params_inference"]
    assert "logits equal those of `main`" in export(tmp_path, "weights")
    assert "logits equal those of `main`" in export(tmp_path, "torch.export")
    network = load_trained(tmp_path)
    assert network(torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)).shape == (3, 10)


def test_a_group_trains_a_watched_network(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        net = build("own_networks:TupleOut", recipe="linear")
        grouped = DistributedDataParallel(net)
        images = torch.rand(4, 3, 16, 16)
        assert same(grouped(images), net(images))
        sum(each.sum() for each in grouped(images).values()).backward()
        assert all(parameter.grad is not None for parameter in net.parameters())
    finally:
        torch.distributed.destroy_process_group()
