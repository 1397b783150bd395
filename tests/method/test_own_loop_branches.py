"""What grows at a tap in one's own loop, in which order, and what is refused."""

import copy

import own_networks
import pytest
import torch
from test_own_loop import CLASSES, OUTPUTS, build, images, ours, parameters, same
from torch import nn
from torchvision import models

from dks_study import Problem, branched
from dks_study.method.growth import Bottleneck

pytestmark = pytest.mark.usefixtures("one_thread")


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
        branched(net.plain(), ["features.1"], CLASSES, recipe="tail", example=images(2))
