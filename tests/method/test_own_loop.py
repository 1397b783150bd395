"""One contract for any network with branches in one's own loop: our families, torchvision's, timm's, a user's own."""

import copy
import io
import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import own_networks
import pytest
import torch
import two_processes
from torch import nn
from torchvision import models

from dks_study import Problem, SynergyLoss, branched
from dks_study.method.backbones import build_backbone
from dks_study.method.growth import Bottleneck
from dks_study.spec.backbone import (
    DenseNetSpec,
    MobileNetSpec,
    PreActResNetSpec,
    ResNetSpec,
    VGGSpec,
    WRNSpec,
)

slow = pytest.mark.slow
CLASSES, LABELS = 5, torch.tensor([0, 1, 2, 3])
OURS = {
    "resnet": ResNetSpec(name="resnet", depth=8, base_channels=4),
    "preact_resnet": PreActResNetSpec(name="preact_resnet", depth=8),
    "wrn": WRNSpec(name="wrn", depth=10, width=1, dropout=0.2),
    "densenet": DenseNetSpec(name="densenet", depth=10, growth=4, reduction=0.5),
    "mobilenet": MobileNetSpec(name="mobilenet", width=0.125),
    "vgg_bn": VGGSpec(name="vgg_bn", depth=11),
}


def ours(name):
    return build_backbone(OURS[name], 3, CLASSES, seed=0)


def timm_style():
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    return timm.create_model("resnet10t", num_classes=CLASSES, in_chans=3)


# name -> (how it is made, taps, further arguments)
NETWORKS = {
    **{name: (partial(ours, name), ["stage1", "stage2"], {}) for name in OURS},
    "resnet at modules": (partial(ours, "resnet"), ["stages.stage1.0", "stages.stage2.0"], {}),
    "resnet18": (lambda: models.resnet18(num_classes=CLASSES), ["layer2", "layer3"], {}),
    "mobilenet_v3_small": (lambda: models.mobilenet_v3_small(num_classes=CLASSES), ["features.3", "features.8"], {}),
    "densenet121": (
        lambda: models.densenet121(num_classes=CLASSES),
        ["features.denseblock2", "features.denseblock3.denselayer2"],
        {"recipe": "linear"},
    ),
    "convnext_tiny": (lambda: models.convnext_tiny(num_classes=CLASSES), ["features.1", "features.3"], {}),
    "timm": (timm_style, ["layer1", "layer2"], {}),
    "functional": (lambda: own_networks.Functional(3, CLASSES), ["a", "b"], {}),
    "nested": (lambda: own_networks.Nested(3, CLASSES), ["0", "1.0"], {}),
    "shared": (lambda: own_networks.Shared(3, CLASSES), ["stem", "block"], {}),
    "squeezed": (lambda: own_networks.Squeezed(3, CLASSES), ["one"], {}),
}  # fmt: skip
OUTPUTS = {
    "tuple": (own_networks.TupleOut, None, lambda result: result[0]),
    "dict": (own_networks.DictOut, "logits", lambda result: result["logits"]),
    "object": (own_networks.ObjectOut, None, lambda result: result.logits),
}
LARGE = ("densenet121", "convnext_tiny", "mobilenet_v3_small", "timm")
by_network = pytest.mark.parametrize("name", NETWORKS)
QUICK = ("resnet", "functional", "nested", "shared")
by_small_network = pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=slow) for name in NETWORKS if name not in LARGE]
)
pytestmark = pytest.mark.usefixtures("one_thread")


def images(count=4, seed=0):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def build(name):
    torch.manual_seed(0)
    make, taps, more = NETWORKS[name]
    return branched(make(), taps, CLASSES, example=images(2), **more)


def run(net, batch):
    """Outputs from one state of the random streams."""
    torch.manual_seed(7)
    return net(batch)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def hooked(net):
    return [name for name, module in net.named_modules() if module._forward_hooks or module._forward_pre_hooks]


@by_network
def test_the_contract_of_a_branched_network(name):
    torch.manual_seed(0)
    make, taps, more = NETWORKS[name]
    model = make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    own, random = [id(parameter) for parameter in model.parameters()], torch.get_rng_state()
    net = branched(model, taps, CLASSES, example=images(2), **more)

    assert net.plain() is model
    assert [id(parameter) for parameter in net.plain().parameters()] == own
    assert same(model.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert net.names == (*taps, "main")

    bare = copy.deepcopy(model)
    for mode in (True, False):
        logits = run(net.train(mode), images())
        assert tuple(logits) == net.names
        assert all(each.shape == (4, CLASSES) for each in logits.values())
        assert torch.equal(logits["main"], run(bare.train(mode), images()))
    assert same(model.state_dict(), bare.state_dict())  # batch statistics among them

    SynergyLoss(pairing="dense")(run(net.train(), images()), LABELS).total.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())  # DDP finds no unused ones
    assert not hooked(net)


@by_network
def test_a_branch_alone_reaches_what_lies_below_its_tap(name):
    net = build(name).train()
    net(images())[net.names[0]].logsumexp(1).sum().backward()
    reached = {key for key, parameter in net.named_parameters() if parameter.grad is not None}
    first = next(iter(net.branches))
    own = {key for key, _ in net.named_parameters() if key.startswith(f"branches.{first}.")}
    assert own < reached
    assert reached - own
    assert not any(key.startswith("branches.") for key in reached - own)
    assert reached - own < {key for key, _ in net.named_parameters() if key.startswith("backbone.model.")}


@by_small_network
def test_copies_pickles_and_state_dicts_compute_the_same(name):
    net = build(name).eval()
    wanted = run(net, images())
    assert same(run(copy.deepcopy(net), images()), wanted)
    assert same(run(pickle.loads(pickle.dumps(net)), images()), wanted)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    torch.manual_seed(99)
    make, taps, more = NETWORKS[name]
    other = branched(make(), taps, CLASSES, example=images(2), **more).eval()
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert same(run(other, images()), wanted)
    alone = make().eval()
    alone.load_state_dict(net.plain().state_dict(), strict=True)
    assert torch.equal(run(alone, images()), wanted["main"])


@by_small_network
def test_compiled_whole_it_computes_the_same(name):
    net = build(name).eval()
    wanted = run(net, images())
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for key, logits in run(compiled, images()).items():
        torch.testing.assert_close(logits, wanted[key])
    assert not hooked(net)
    torch._dynamo.reset()


@slow
def test_compiled_by_inductor_it_trains_the_same():
    one, other = build("nested").train(), build("nested").train()
    compiled = torch.compile(other, fullgraph=True)
    for net in (one, compiled):
        SynergyLoss()(run(net, images()), LABELS).total.backward()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    torch._dynamo.reset()


@by_small_network
def test_it_can_be_exported_as_a_program(name):
    net = build(name).eval()
    program = torch.export.export(net, (images(),)).module()
    for key, logits in program(images()).items():
        torch.testing.assert_close(logits, net(images())[key], rtol=1e-4, atol=1e-5)


@by_small_network
def test_under_autocast_it_runs_in_half_precision_and_the_loss_does_not(name):
    net = build(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(images())
        terms = SynergyLoss()(logits, LABELS)
    assert {each.dtype for each in logits.values()} == {torch.bfloat16}
    assert terms.total.dtype == torch.float32
    terms.total.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


def test_two_processes_train_what_one_does(tmp_path):
    paths = [str(Path(__file__).parents[2]), str(Path(two_processes.__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, two_processes.__file__]
    group = [subprocess.Popen([*script, str(rank), str(tmp_path)], env=environment) for rank in (0, 1)]
    net = two_processes.network()
    losses = two_processes.train(net, 0, 1)
    assert [process.wait(timeout=300) for process in group] == [0, 0]
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.tensor([share["losses"] for share in shares]).mean(0).tolist() == pytest.approx(losses, rel=1e-5)
    for share in shares:
        for key, value in net.state_dict().items():
            torch.testing.assert_close(share["state"][key], value, rtol=1e-5, atol=1e-6)


# --- what grows ---


def test_the_published_branches_grow_on_torchvision_s_resnets():
    net = branched(models.resnet18(num_classes=CLASSES), ["layer2", "layer3"], CLASSES)
    assert [len(part) for part in net.branches["layer2"][:2]] == [1, 2]
    assert net.branches["layer3"][0][-1].conv2.out_channels == 1024  # twice the width
    tail = branched(models.resnet18(num_classes=CLASSES), ["layer2", "layer3"], CLASSES, recipe="tail")
    assert [len(part) for part in tail.branches["layer2"][:2]] == [2, 2]


def test_the_published_branches_grow_on_our_own_families():
    auto, paper = (ours("wrn") for _ in range(2))
    torch.manual_seed(0)
    one = branched(auto, ["stage1", "stage2"], CLASSES)
    other = branched(paper, ["stage1", "stages.stage2.0"], CLASSES, recipe="paper")
    assert [type(part) for part in one.branches["stage2"]] == [type(part) for part in other.branches["stages_stage2_0"]]
    assert same(one.branches["stage1"].state_dict(), other.branches["stage1"].state_dict())


def test_a_chain_grows_its_own_blocks_with_new_weights_and_any_other_network_bottlenecks():
    net = build("mobilenet_v3_small")
    model, branch = net.plain(), net.branches["features_8"]
    assert parameters(branch) == parameters(model.features[9:]) + parameters(model.classifier)
    first, copied = next(model.features[9].parameters()), next(branch.parameters())
    assert first.shape == copied.shape
    assert not torch.equal(first, copied)
    bottlenecks = build("functional").branches["a"]
    assert [type(part) for part in bottlenecks] == [Bottleneck, Bottleneck, nn.Sequential]
    assert [part.relu is not None and part.shortcut[0].stride for part in bottlenecks[:2]] == [(2, 2), (2, 2)]
    assert bottlenecks[1].shortcut[0].out_channels == 32


def test_a_last_stage_grows_one_bottleneck():
    net = branched(own_networks.Functional(3, CLASSES), ["c"], CLASSES, example=images(2))
    assert [type(part) for part in net.branches["c"]] == [Bottleneck, nn.Sequential]


def test_stages_are_names_too():
    net = branched(own_networks.WithStages(3, CLASSES), ["stage1", "stages.early.0"], CLASSES, example=images(2))
    assert net.names == ("stages.early.0", "stage1", "main")
    model = net.eval().plain()
    features = model.stages["early"](model.stem(images()))
    assert torch.equal(net(images())["stage1"], net.branches["stage1"](features))


def test_taps_in_any_order_come_out_shallow_to_deep():
    net = branched(own_networks.Nested(3, CLASSES), ["1", "0", "0.0"], CLASSES, recipe="linear", example=images(2))
    assert net.names == ("0.0", "0", "1", "main")


def test_of_a_block_that_runs_several_times_the_first_time_counts():
    net = build("shared").eval()
    model = net.plain()
    first = model.block(model.stem(images()))
    assert torch.equal(net(images())["block"], net.branches["block"](first))


@pytest.mark.parametrize("kind", OUTPUTS)
def test_networks_that_return_several_values(kind):
    make, output, logits_of = OUTPUTS[kind]
    net = branched(make(3, CLASSES), ["a"], CLASSES, output=output, example=images(2)).eval()
    assert torch.equal(net(images())["main"], logits_of(net.plain()(images())))
    assert same(copy.deepcopy(net)(images()), net(images()))


def test_values_that_only_training_returns():
    net = branched(
        models.googlenet(num_classes=CLASSES, init_weights=False),
        ["inception3b"], CLASSES, output="logits", recipe="linear", example=torch.rand(2, 3, 64, 64),
    )  # fmt: skip
    assert net.train()(torch.rand(2, 3, 64, 64))["main"].shape == (2, CLASSES)
    assert net.eval()(torch.rand(2, 3, 64, 64))["main"].shape == (2, CLASSES)


def test_branches_follow_the_device_and_number_format_of_the_model():
    net = branched(own_networks.Functional(3, CLASSES).double(), ["a"], CLASSES)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float64}
    meta = own_networks.Functional(3, CLASSES).to("meta")
    assert all(parameter.is_meta for parameter in branched(meta, ["a"], CLASSES).parameters())


def test_initial_weights_of_a_branch_depend_on_seed_and_tap_alone():
    def weights(taps, seed):
        torch.manual_seed(seed)
        return branched(own_networks.Nested(3, CLASSES), taps, CLASSES, recipe="linear").branches["1"].state_dict()

    assert same(weights(["1"], 3), weights(["0", "1"], 3))
    assert not same(weights(["1"], 3), weights(["1"], 4))


def test_names_of_branches_do_not_collide():
    class Awkward(own_networks.Functional):
        def __init__(self):
            super().__init__(3, CLASSES)
            self.keys, self.a_b, self.a.b = nn.Identity(), nn.Identity(), nn.Identity()

        def features(self, images):
            self.a_b(self.a.b(self.keys(images)))
            return super().features(images)

    net = branched(Awkward(), ["keys", "a.b", "a_b"], CLASSES, recipe="linear", example=images(2))
    assert list(net(images())) == ["keys", "a.b", "a_b", "main"]


def test_a_baseline_has_main_alone():
    net = branched(own_networks.TupleOut(3, CLASSES), [], CLASSES)
    assert list(net(images())) == ["main"]


def test_a_tap_that_does_not_run_while_training_is_named():
    class Sometimes(own_networks.Functional):
        def features(self, images):
            return super().features(images) if not self.training else torch.zeros(len(images), 32, 2, 2)

    net = branched(Sometimes(3, CLASSES), ["a"], CLASSES)
    with pytest.raises(RuntimeError, match=r"^taps: a must run and put out a tensor in every pass"):
        net.train()(images())


def test_taps_can_be_one_text_as_in_a_study():
    net = branched(own_networks.Nested(3, CLASSES), "0+1", CLASSES, recipe="linear", example=images(2))
    assert net.names == ("0", "1", "main")


def test_modules_that_are_named_like_stages_come_in_the_order_in_which_they_run():
    class Backwards(own_networks.TupleOut):
        def __init__(self):
            super().__init__(3, CLASSES)
            self.stage2, self.stage1 = self.a, self.b

    assert branched(Backwards(), ["stage1", "stage2"], CLASSES).names == ("stage2", "stage1", "main")


def compiled(channels, classes):
    return torch.compile(own_networks.Functional(channels, classes), backend="eager")


def compiled_in_place(channels, classes):
    model = own_networks.Functional(channels, classes)
    model.compile(backend="eager")
    return model


NESTED, FUNCTIONAL = own_networks.Nested, own_networks.Functional


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (NESTED, {"taps": ["2.9"]}, r"taps: must be modules that run .*did you mean 2\.[01]\? 0, 1, 2, .*; got '2.9'"),
        (NESTED, {"taps": ["3"]}, r"taps: must be modules that run .*; got '3'"),
        (NESTED, {"taps": ["stage7"]}, r"taps: this backbone has the taps stage1, .*, got 'stage7'"),
        (FUNCTIONAL, {"taps": ["stage1"]}, "taps: must be modules where a function ends a stage .* got 'stage1'"),
        (NESTED, {"taps": ["0", "0"]}, "branched: taps: each tap carries one branch"),
        (NESTED, {"taps": ["main"]}, "taps: main, teacher, peer and ensemble name other classifiers, got 'main'"),
        (NESTED, {"taps": ["a>b"]}, r"taps: a tap is a stage \(stage2, stage2.3\) or a module .* got 'a>b'"),
        (NESTED, {"taps": ["0"], "classes": 7}, r"output: the logits must be .* here \[B, 7\], got \[B, 5\]"),
        (NESTED, {"taps": ["0"], "recipe": "paper"}, "recipe: must be tail, .* got 'paper'"),
        (NESTED, {"taps": ["0.0"], "recipe": "tail"}, r"recipe: must be bottleneck or linear at 0\.0"),
        (NESTED, {"taps": ["0"], "recipes": "tail"}, "branched: recipes: unknown key, did you mean recipe"),
        (FUNCTIONAL, {"taps": ["a"], "depth_factor": 0.5}, "depth_factor: must be left out with recipe bott"),
        (own_networks.OneSize, {"taps": ["one"]}, r"example: must be images that .*, got \[2, 3, 224, 224\]: "),
        (
            compiled,
            {"taps": ["a"]},
            "model: must be compiled with its branches around it, got a compiled OptimizedModule",
        ),
        (compiled_in_place, {"taps": ["a"]}, "model: must be compiled .* got a compiled Functional"),
        (own_networks.DictOut, {"taps": ["a"]}, "output: must say which is the logits"),
        (lambda channels, classes: nn.Linear(3, 5), {"taps": ["a"]}, "example: must be given for a model without conv"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, arguments, message):
    values = {"classes": CLASSES, **arguments}
    with pytest.raises(Problem, match="^" + message) as caught:
        branched(make(3, CLASSES), **values)
    assert "\n" not in str(caught.value)


def test_a_model_whose_blocks_cannot_be_renewed_grows_bottlenecks():
    net = build("convnext_tiny")
    assert isinstance(net.branches["features_1"][0], Bottleneck)
    with pytest.raises(Problem, match=r"tail needs modules with reset_parameters, which features\.1\.0 lacks"):
        branched(models.convnext_tiny(num_classes=CLASSES), ["features.1"], CLASSES, recipe="tail", example=images(2))
