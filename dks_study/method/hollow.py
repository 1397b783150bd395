"""Copies of networks without data: shapes and counts can be had from them at once, whatever their size."""

import copy
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def hollow(net: Module) -> Module:
    """Return a copy of `net` on the meta device, evaluating; its weights, which may be large, are never copied."""
    memo: dict[int, object] = {}
    for parameter in net.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in net.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(net, memo).eval()
