import copy

import pytest
import torch
from torch import nn

from dks_study.method.exits import EarlyExit
from dks_study.method.networks import build_network
from dks_study.spec.backbone import ExternalSpec, ResNetSpec, WRNSpec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.trial import DataSpec, RunSpec
from dks_study.training.cost import Cost, count_alone, count_cost, count_exits

RESNET = ResNetSpec(name="resnet", depth=8, base_channels=4)
WRN = WRNSpec(name="wrn", depth=10, width=2)
OWN = ExternalSpec(name="own_networks:WithStages", options={"width": 4})


def network(backbone, taps=("stage1", "stage2"), channels=3, classes=10, recipe="auto"):
    branches = BranchSpec(taps=taps, recipe=recipe)
    run = RunSpec(backbone=backbone, data=DataSpec(name="digits"), branches=branches, epochs=1)
    return build_network(run, channels, classes, seed=0)


def macs_by_hand(module, image_shape):
    """Multiply-accumulates from the shapes that pass through every convolution and linear layer."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        per_output = layer.weight[0].numel()
        total += per_output * output[0].numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    module.eval()(torch.zeros(1, *image_shape))
    return total


@pytest.mark.parametrize("backbone", [RESNET, WRN], ids=lambda spec: spec.name)
def test_counts_agree_with_a_count_by_layer(backbone):
    shape = (3, 16, 12)
    cost = count_cost(network(backbone), shape)
    assert cost.macs_train == macs_by_hand(network(backbone), shape)
    assert cost.macs_inference == macs_by_hand(network(backbone).backbone, shape)
    assert cost.params_train == sum(p.numel() for p in network(backbone).parameters())
    assert cost.params_inference == sum(p.numel() for p in network(backbone).backbone.parameters())


def test_the_authors_network_costs_what_it_is_known_to_cost():
    with torch.device("meta"):
        net = network(WRNSpec(name="wrn", depth=28, width=10), classes=100)
    cost = count_cost(net, (3, 32, 32))
    assert (cost.params_inference, cost.params_train) == (36_536_884, 164_146_364)
    assert cost.macs_inference / 1e9 == pytest.approx(5.24, abs=0.01)
    assert cost.macs_train / 1e9 == pytest.approx(14.73, abs=0.01)


@pytest.mark.parametrize("backbone", [RESNET, WRN, OWN], ids=lambda spec: spec.name)
def test_an_exit_costs_what_the_network_cut_there_costs(backbone):
    shape, taps = (3, 16, 12), ("stage1.1", "stage1") if backbone == OWN else ("stage1", "stage2")
    net = network(backbone, taps)
    found, asked = count_exits(net, shape), 0
    assert list(found) == [*taps, "main"]
    for name in taps:
        branch = macs_by_hand(copy.deepcopy(net.branch(name)), tapped_shape(net, name, shape))
        asked += branch
        assert found[name].alone == macs_by_hand(EarlyExit(net, name), shape)
        assert found[name].through == found[name].alone - branch + asked
        assert count_alone(EarlyExit(net, name), shape)[1] == found[name].alone
    cost = count_cost(net, shape)
    assert (found["main"].alone, found["main"].through) == (cost.macs_inference, cost.macs_train)


def tapped_shape(net, name, shape):
    features, _ = net.backbone.eval().tapped(torch.zeros(1, *shape), (name,))
    return features[name].shape[1:]


def test_an_exit_at_a_module_costs_what_it_costs_at_the_stage_that_it_ends():
    by_stage = count_exits(network(OWN, ("stage1",), recipe="linear"), (3, 8, 8))
    by_module = count_exits(network(OWN, ("stages.early",), recipe="linear"), (3, 8, 8))
    assert list(by_module.values()) == list(by_stage.values())


def test_without_branches_training_costs_what_inference_costs():
    cost = count_cost(network(RESNET, taps=()), (3, 8, 8))
    assert cost == Cost(cost.params_inference, cost.params_inference, cost.macs_inference, cost.macs_inference)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training):
    net = network(WRN).train(training)
    before = {name: (value, value.clone(), value.data_ptr()) for name, value in net.state_dict().items()}
    count_cost(net, (3, 8, 8))
    assert all(module.training == training for module in net.modules())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name][1])
        assert (value.device.type, value.data_ptr()) == ("cpu", before[name][2])


def test_a_network_in_double_precision_costs_the_same():
    assert count_cost(network(WRN).double(), (3, 8, 8)) == count_cost(network(WRN), (3, 8, 8))
