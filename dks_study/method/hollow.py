"""Copies of networks without data: shapes and counts can be had from them at once, whatever their size."""

import copy
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Module = TypeVar("Module", bound=nn.Module)
_POINTWISE = {nn.ReLU6, nn.Hardswish, nn.Hardsigmoid}


def hollow(net: Module) -> Module:
    """Return a copy of `net` on the meta device, evaluating; its weights, which may be large, are never copied.

    Its batch norms and clamping activations put out the shape that they are given, and compute nothing else.
    """
    memo: dict[int, object] = {}
    for parameter in net.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in net.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    empty = copy.deepcopy(net, memo).eval()
    for module in empty.modules():
        # PyTorch would work their shape out in Python, operation by operation: most of the time of a run.
        if isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward:
            vars(module)["forward"] = partial(_normed, module)
        elif type(module) in _POINTWISE:
            vars(module)["forward"] = torch.empty_like
    return empty


def _normed(norm: _BatchNorm, inputs: Tensor) -> Tensor:
    """Return a tensor like `inputs`.

    Raises:
        RuntimeError: one line, as from PyTorch, if the norm is for other channels.
        ValueError: the same, if it is for tensors of another rank.
    """
    norm._check_input_dim(inputs)  # type: ignore[no-untyped-call]
    if inputs.shape[1] != norm.num_features:
        raise RuntimeError(f"{norm} is given {inputs.shape[1]} channels")
    return torch.empty_like(inputs)
