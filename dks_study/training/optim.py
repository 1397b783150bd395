"""SGD and AdamW, and the learning rate as a pure function of how much of the training is done."""

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from dks_study.method.networks import Part
from dks_study.spec.optimiser import OptimiserSpec

WARMUP_START = 0.01  # of the full rate


def build_optimiser(
    parameters: Iterable[nn.Parameter], spec: OptimiserSpec, parts: Mapping[nn.Parameter, Part] = MappingProxyType({})
) -> torch.optim.Optimizer:
    """Return the optimiser over those of `parameters` that are trained; frozen ones are left out.

    Parameters of fewer than two dimensions (biases, batch norm) decay only with `decay_batch_norm`. `parts` says which
    are pretrained or of branches, whose rates may be others.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups: dict[_Kind, list[nn.Parameter]] = {}
    for parameter in sorted(trained, key=lambda each: each.ndim < 2 and not spec.decay_batch_norm):
        groups.setdefault(_kind_of(parameter, spec, parts), []).append(parameter)
    described = [{"params": params, **_described(kind)} for kind, params in groups.items()]
    return _build(described, trained, spec)


class _Kind(NamedTuple):
    """What a group of parameters has in common."""

    weight_decay: float
    factor: float
    freezes: bool


def _kind_of(parameter: nn.Parameter, spec: OptimiserSpec, parts: Mapping[nn.Parameter, Part]) -> _Kind:
    decay = spec.weight_decay if spec.decay_batch_norm or parameter.ndim >= 2 else 0.0
    part = parts.get(parameter)
    factor = {"pretrained": spec.pretrained_lr_factor, "branch": spec.branch_lr_factor}.get(part or "", 1.0)
    return _Kind(decay, factor, part == "pretrained" and spec.freeze_pretrained > 0)


def _described(kind: _Kind) -> dict[str, Any]:
    factor = {"factor": kind.factor} if kind.factor != 1 else {}
    return {"weight_decay": kind.weight_decay, **factor, **({"freezes": True} if kind.freezes else {})}


def _build(groups: list[dict[str, Any]], trained: list[nn.Parameter], spec: OptimiserSpec) -> torch.optim.Optimizer:
    # Fused: one pass over all weights; and a GPU is not waited for to learn whether float16 gradients overflowed.
    if spec.name == "adamw":
        return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, fused=True)
    optimiser = torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov, fused=True)
    if spec.momentum:
        # Its own first step would take memory as it comes for momentum if the gradients of that step overflowed.
        for parameter in trained:
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def lr_at(spec: OptimiserSpec, progress: float) -> float:
    """Return the learning rate after the fraction `progress` in [0, 1) of all steps."""
    if progress < spec.warmup:
        return spec.lr * (WARMUP_START + (1 - WARMUP_START) * progress / spec.warmup)
    if spec.schedule == "cosine":
        return spec.lr * 0.5 * (1 + math.cos(math.pi * (progress - spec.warmup) / (1 - spec.warmup)))
    if spec.schedule == "multistep":
        return spec.lr * spec.gamma ** _milestones_by(spec, progress)
    return spec.lr


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups, each by its factor."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get("factor", 1.0)


def prepare_step(optimiser: torch.optim.Optimizer, spec: OptimiserSpec, done: int, steps: int) -> None:
    """Set the rate for the step after `done` of all `steps`, and what is frozen in it.

    With `reset_momentum` momentum is forgotten at milestones.
    """
    set_lr(optimiser, lr_at(spec, done / steps))
    for group in optimiser.param_groups:
        if "freezes" in group:
            group["frozen"] = done / steps < spec.freeze_pretrained
    if spec.reset_momentum and _milestones_by(spec, done / steps) > _milestones_by(spec, (done - 1) / steps):
        torch._foreach_zero_([state["momentum_buffer"] for state in optimiser.state.values()])


def take_step(optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler, spec: OptimiserSpec) -> None:
    """Update the weights from their gradients (scaled by `scaler`, clipped if `spec` says so), and drop those.

    Frozen groups lose theirs before, so that neither their weights nor their momentum move.
    """
    for group in optimiser.param_groups:
        if group.get("frozen"):
            for parameter in group["params"]:
                parameter.grad = None
    if spec.clip_norm is not None:
        scaler.unscale_(optimiser)
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, spec.clip_norm)
    scaler.step(optimiser)
    scaler.update()
    optimiser.zero_grad()


def _milestones_by(spec: OptimiserSpec, progress: float) -> int:
    return sum(milestone <= progress for milestone in spec.milestones)
