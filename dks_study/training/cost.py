"""What a network costs: parameters and forward multiply-accumulates, with branches, peers and teacher and without."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dks_study.method.branches import BranchedNet
from dks_study.method.exits import last_module
from dks_study.method.hollow import hollow
from dks_study.method.networks import Network
from dks_study.spec.pairing import MAIN


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


@dataclass(frozen=True)
class ExitCost:
    """Multiply-accumulates per image of a prediction by one exit.

    Attributes:
        alone: of the network cut there: the backbone up to it, and its own branch.
        through: where all shallower exits are asked as well, one after another.
    """

    alone: int
    through: int


def count_exits(net: BranchedNet, image_shape: tuple[int, int, int]) -> dict[str, ExitCost]:
    """Count what every classifier of `net` costs as an exit, shallow to deep, `main` last; `net` is not touched."""
    empty = hollow(net)
    counter = FlopCounterMode(display=False)
    seen: dict[tuple[str, str], int] = {}

    def note(name: str, what: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            seen.setdefault((name, what), counter.get_total_flops() // 2)  # one multiply-accumulate is two operations

        return hook

    for name in net.names[:-1]:
        last_module(empty.backbone, name).register_forward_hook(note(name, "trunk"))
        empty.branch(name).register_forward_pre_hook(note(name, "begin"))
        empty.branch(name).register_forward_hook(note(name, "end"))
    _count(empty, image_shape, counter)
    whole, costs, asked = _macs(empty.backbone, image_shape), dict[str, ExitCost](), 0
    for name in net.names:
        branch = seen[name, "end"] - seen[name, "begin"] if name != MAIN else 0
        trunk = seen[name, "trunk"] if name != MAIN else whole
        asked += branch
        costs[name] = ExitCost(trunk + branch, trunk + asked)
    return costs


def count_alone(module: nn.Module, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Count parameters, and multiply-accumulates for one image; `module` is not touched."""
    empty = hollow(module)
    return _parameters(empty), _macs(empty, image_shape)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _macs(module: nn.Module, image_shape: tuple[int, int, int]) -> int:
    counter = FlopCounterMode(display=False)
    _count(module, image_shape, counter)
    return counter.get_total_flops() // 2


def _count(module: nn.Module, image_shape: tuple[int, int, int], counter: FlopCounterMode) -> None:
    dtype = next(module.parameters()).dtype
    with torch.device("meta"), torch.no_grad(), counter:  # a network may make tensors of its own
        module(torch.empty(1, *image_shape, dtype=dtype))
