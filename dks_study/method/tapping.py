"""Feature maps of named modules of any network, taken while it runs as it is.

For one call the table of hooks of each tapped module is replaced by a longer copy, and put back. So nothing of ours is
on the network between calls: deepcopy, pickle, state_dict and DDP see what its author wrote. torch.compile and
torch.export trace through the exchange without a break, which they do not through `register_forward_hook`.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

GIVEN = "to "  # before a module's name: what it is given, rather than what it puts out

# Two threads that call one network would otherwise see each other's hooks: they take turns.
_TURN = threading.RLock()


class _Keep:
    """A hook that keeps what its module puts out, or is given, the first time that it runs in a call."""

    def __init__(self, kept: dict[str, object], name: str) -> None:
        self.kept, self.name = kept, name

    def __call__(self, module: nn.Module, arguments: tuple[object, ...], output: object) -> None:
        self.kept.setdefault(self.name, arguments[0] if self.name.startswith(GIVEN) else output)


def run_tapped(model: nn.Module, images: Tensor, modules: Sequence[str]) -> tuple[object, dict[str, object]]:
    """Run `model` and return what it returns, and what some of its modules put out, in the order in which they did.

    With GIVEN before its name, what a module is given counts: the first of its arguments.
    Of a module that runs several times the first time counts; one that does not run is not in the answer. Where the
    next module works in place, what it leaves is what is seen.

    Raises:
        AttributeError: if there is no module of such a name.
    """
    kept: dict[str, object] = {}
    tapped = [model.get_submodule(name.removeprefix(GIVEN)) for name in modules]
    with nullcontext() if torch.compiler.is_compiling() else _TURN:
        tables: list[Any] = [module._forward_hooks for module in tapped]
        try:
            for name, module in zip(modules, tapped, strict=True):
                table: Any = {**module._forward_hooks, ("tap", len(module._forward_hooks)): _Keep(kept, name)}
                module._forward_hooks = table
            result = model(images)
        finally:
            for module, table in zip(reversed(tapped), reversed(tables), strict=True):
                module._forward_hooks = table
    return result, kept


def pick_logits(result: object, output: int | str | None, classes: int) -> Tensor:
    """Return the logits [B, classes] among what a network returned.

    Args:
        result: a tensor, which is taken as it is; or a tuple, list, mapping or object that holds the logits.
        output: their position, key or attribute; None: the only tensor in it of shape [B, classes].
        classes: number of classes.

    Raises:
        ValueError: one line that begins with `output` and lists what there is, if none or several fit.
    """
    if isinstance(result, Tensor):
        return result
    there = dict(_tensors(result))
    if output is not None:
        found = [there[output]] if output in there else []
    else:
        found = [each for each in there.values() if each.ndim == 2 and each.shape[1] == classes]
        found = found[:1] if all(each is found[0] for each in found) else found
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{key} {list(each.shape)}" for key, each in there.items()) or type(result).__name__
    got = "nothing" if output is None else repr(output)
    raise ValueError(f"output: must say which is the logits [B, {classes}] among {listed}, got {got}")


def check_logits(result: object, output: int | str | None, classes: int) -> None:
    """Check that a network returned logits [B, classes]; arguments as of `pick_logits`.

    Raises:
        ValueError: one line that begins with `output`.
    """
    logits = pick_logits(result, output, classes)
    if logits.ndim != 2 or logits.shape[1] != classes:
        shape = ", ".join(map(str, logits.shape[1:]))
        raise ValueError(f"output: the logits must be [B, classes], here [B, {classes}], got [B, {shape}]")


def _tensors(result: object) -> Iterator[tuple[int | str, Tensor]]:
    """Yield the tensors that a network returned, by position and by name."""
    named: Mapping[Any, object] = {}
    if isinstance(result, Mapping):
        named = result
    elif isinstance(result, tuple | list):
        fields = getattr(result, "_fields", ())  # of a named tuple
        named = {**dict(enumerate(result)), **dict(zip(fields, result, strict=bool(fields)))}
    elif hasattr(result, "__dict__"):
        named = vars(result)
    yield from ((key, value) for key, value in named.items() if isinstance(value, Tensor))
