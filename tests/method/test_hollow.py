"""Copies without data: the shapes of the network, its refusals, and nothing done to the network itself."""

import pytest
import torch
from torch import nn

from dks_study.method.hollow import hollow


class Halved(nn.BatchNorm2d):
    """A norm that does something of its own."""

    def forward(self, inputs):
        return super().forward(inputs)[:, ::2]


def network(norm=nn.BatchNorm2d):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        norm(8),
        nn.ReLU6(),
        nn.Hardswish(),
        nn.Hardsigmoid(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LazyLinear(6),
        nn.BatchNorm1d(6),
    )


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Halved, nn.InstanceNorm2d])
def test_every_module_puts_out_what_it_puts_out_with_data(norm):
    net, images = network(norm).eval(), torch.rand(2, 3, 9, 7)
    net(images)
    empty, current, shape = hollow(net), images, images.to("meta")
    for module, copied in zip(net, empty, strict=True):
        current, shape = module(current), copied(shape)
        assert (shape.shape, shape.dtype, shape.is_meta) == (current.shape, current.dtype, True)


def test_the_network_itself_stays_as_it_is():
    net = nn.BatchNorm2d(3)
    hollow(net)
    assert net.training
    assert "forward" not in vars(net)
    assert not torch.equal(net(images := torch.rand(2, 3, 4, 4)), images)


@pytest.mark.parametrize(
    ("shape", "error"), [((2, 4, 5, 5), (RuntimeError, "BatchNorm2d.3, .*4 channels")), ((2, 3), (ValueError, "4D"))]
)
def test_a_norm_refuses_what_it_refuses_with_data(shape, error):
    norm = nn.BatchNorm2d(3).eval()
    with pytest.raises(error[0]):
        norm(torch.rand(shape))
    with pytest.raises(error[0], match=error[1]):
        hollow(norm)(torch.empty(shape, device="meta"))
