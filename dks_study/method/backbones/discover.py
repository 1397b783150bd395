"""Finds how an unknown network runs, by watching it run once: which module hands its output to which.

A network is opened as far as it is a chain: a child's input is the very tensor that the child before it put out, or
what one of a few common functions (flatten, global pooling, ReLU) makes of it.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from dks_study.method.backbones.layout import (
    FUNCTIONS,
    Layout,
    LayoutError,
    Steps,
    arrange,
    is_composed,
    is_long,
    module_of,
    run,
)

_GAPS: tuple[Steps, ...] = (
    (":flatten",),
    (":relu",),
    (":pool",),
    (":pool", ":flatten"),
    (":mean",),
    (":relu", ":pool", ":flatten"),
    (":relu", ":mean"),
)


@dataclass
class _Call:
    """One run of a module: the tensors themselves, and their values at that moment (layers may work in place)."""

    name: str
    inputs: Tensor | None
    inputs_then: Tensor | None
    output: Tensor | None = None
    output_then: Tensor | None = None


def discover(model: nn.Module, probe: Tensor) -> Layout:
    """Return the layout of `model`, which is evaluating, as seen for the images `probe` [B, C, H, W].

    A function between two modules is told by its values, so the network must hold numbers, best random ones.

    Raises:
        LayoutError: if the network is not a chain of modules, or has fewer than two stages.
    """
    calls = _watch(model, probe)
    steps = _chain(model, calls[0], _families(calls))
    if steps is None:
        raise LayoutError("its forward is not a chain of modules")
    trunk = _trunk_length(model, steps, probe)
    return arrange(model, (), steps[:trunk], steps[trunk:], probe)


def _watch(model: nn.Module, probe: Tensor) -> list[_Call]:
    calls: list[_Call] = []
    running: list[_Call] = []

    def before(name: str, arguments: tuple[object, ...]) -> None:
        first = arguments[0] if arguments and isinstance(arguments[0], Tensor) else None
        calls.append(_Call(name, first, None if first is None else first.clone()))
        running.append(calls[-1])

    def after(output: object) -> None:
        call = running.pop()
        if isinstance(output, Tensor):
            call.output, call.output_then = output, output.clone()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, arguments, name=name: before(name, arguments)))
        handles.append(module.register_forward_hook(lambda _, __, output: after(output)))
    try:
        with torch.no_grad():
            model(probe)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _families(calls: list[_Call]) -> dict[str, list[_Call]]:
    """Return the calls by the name of the nearest module around them that ran, in the order in which they began."""
    families: dict[str, list[_Call]] = {call.name: [] for call in calls}
    for call in calls:
        parent = call.name.rpartition(".")[0]
        while parent not in families:
            parent = parent.rpartition(".")[0]
        if call.name:
            families[parent].append(call)
    return families


def _chain(model: nn.Module, own: _Call, families: dict[str, list[_Call]]) -> Steps | None:
    """Return the steps that a module is made of, or None if it is not a chain of its children."""
    children = families[own.name]
    if not children or len({child.name for child in children}) < len(children):
        return None
    before = _Call("", None, None, own.inputs, own.inputs_then)
    after = _Call("", own.output, own.output_then)
    steps: Steps = ()
    for left, right in pairwise([before, *children, after]):
        gap = _gap(left, right)
        if gap is None:
            return None
        steps += gap + (_opened(model, right, families) if right is not after else ())
    return steps


def _opened(model: nn.Module, call: _Call, families: dict[str, list[_Call]]) -> Steps:
    """Return the steps of a child: its parts if there are several blocks among them, else itself."""
    module = model.get_submodule(call.name)
    inner = _chain(model, call, families)
    if inner is None:
        return (call.name,)
    if isinstance(module, nn.Sequential):
        return inner if is_long(module) else (call.name,)
    weighty = [step for step in inner if next(module_of(model, step).parameters(), None) is not None]
    composed = [step for step in weighty if is_composed(module_of(model, step))]
    return inner if len(composed) > 1 or (composed and composed == weighty) else (call.name,)


def _gap(left: _Call, right: _Call) -> Steps | None:
    """Return the functions between an output and the next input, or None if they are none of the known ones."""
    if left.output_then is None or right.inputs_then is None:
        return None
    if left.output is right.inputs:  # unless something changed it in place, as `x += y` does
        return () if torch.equal(left.output_then, right.inputs_then) else None
    for steps in _GAPS:
        if left.output_then.ndim != 4:
            continue
        made = left.output_then
        for step in steps:
            made = FUNCTIONS[step](made)
        if torch.equal(made, right.inputs_then):
            return steps
    return None


def _trunk_length(model: nn.Module, steps: Steps, probe: Tensor) -> int:
    """Return how many steps there are before the feature map is pooled away."""
    length, features = 0, probe
    with torch.no_grad():
        for position, step in enumerate(steps):
            features = run(model, (step,), features)
            if features.ndim == 4 and features.shape[-1] > 1 and not isinstance(module_of(model, step), nn.Dropout):
                length = position + 1
    return length
