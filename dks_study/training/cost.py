"""What a network costs: parameters and forward multiply-accumulates, with branches, peers and teacher and without."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dks_study.method.hollow import hollow
from dks_study.method.networks import Network


@dataclass(frozen=True)
class Cost:
    """Counts of one network; `train` is all that runs in training, `inference` the backbone alone.

    Attributes:
        params_train: numbers that are trained; those of a frozen teacher are not.
        params_inference: those that ship.
        macs_train: multiply-accumulates of convolutions and linear layers per image, forward pass only.
        macs_inference: the same for the network that ships.
    """

    params_train: int
    params_inference: int
    macs_train: int
    macs_inference: int


def count_cost(net: Network, image_shape: tuple[int, int, int]) -> Cost:
    """Count parameters and multiply-accumulates for one image of shape (channels, height, width) in pixels.

    Nothing is computed and `net` is not touched: the counting runs on a copy without data.
    """
    empty = hollow(net)
    return Cost(
        params_train=_parameters(empty),
        params_inference=_parameters(empty.backbone),
        macs_train=_macs(empty, image_shape),
        macs_inference=_macs(empty.backbone, image_shape),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _macs(module: nn.Module, image_shape: tuple[int, int, int]) -> int:
    dtype = next(module.parameters()).dtype
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:  # a network may make tensors of its own
        module(torch.empty(1, *image_shape, dtype=dtype))
    return int(counter.get_total_flops()) // 2  # one multiply-accumulate is two operations
