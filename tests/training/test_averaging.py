"""The moving average is the recursion, and leaves the network alone that it follows."""

import torch
from torch import nn

from dks_study.training.averaging import Average


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net[2].requires_grad_(False)
    return net


def change(net):
    """Train-mode forward passes and a step change weights, statistics and counts."""
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter)
    net.train()(torch.randn(8, 3))


def test_weights_and_statistics_follow_the_recursion_and_counts_are_copied():
    net = network()
    average = Average(net, 0.9)
    expected = {name: value.clone() for name, value in net.state_dict().items()}
    for _ in range(5):
        change(net)
        average.update()
        for name, value in net.state_dict().items():
            expected[name] = 0.9 * expected[name] + 0.1 * value if value.is_floating_point() else value.clone()
    found = average.network.state_dict()
    assert found.keys() == expected.keys()
    assert found["1.num_batches_tracked"] == 5
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
    assert torch.equal(found["2.weight"], net[2].weight), "frozen: never blended"


def test_the_average_has_tensors_of_its_own_and_never_trains():
    net = network()
    average = Average(net, 0.5)
    before = average.network[0].weight.clone()
    change(net)
    assert torch.equal(average.network[0].weight, before)
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
