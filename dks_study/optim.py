"""SGD and its learning-rate schedule, a pure function of how much of the training is done."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from dks_study.spec import OptimiserSpec


def build_optimiser(parameters: Iterable[nn.Parameter], spec: OptimiserSpec) -> torch.optim.SGD:
    """Return SGD over all `parameters`; weight decay acts on every one of them, batch norm too, as in the paper."""
    return torch.optim.SGD(
        parameters, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov, weight_decay=spec.weight_decay
    )


def lr_at(spec: OptimiserSpec, progress: float) -> float:
    """Return the learning rate after the fraction `progress` in [0, 1) of all steps."""
    if spec.schedule == "cosine":
        return spec.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return spec.lr * spec.gamma ** sum(milestone <= progress for milestone in spec.milestones)


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimiser.param_groups:
        group["lr"] = lr
