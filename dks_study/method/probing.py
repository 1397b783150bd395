"""What can be tapped in a network, found by running it once: which modules put out feature maps, and in which order."""

import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dks_study.method.backbones.staged import Tap
from dks_study.method.tapping import run_tapped
from dks_study.spec.base import in_one_line

SHOWN = 12  # names in a message
POOLING = 2  # a map that shrinks to one pixel by more than this was pooled away, which is no stage
_OF_SHAPES = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError)  # as PyTorch words them

# map: [B, C, H, W]; map_last: [B, H, W, C]; tokens: [B, N, C].
Arrangement = Literal["map", "map_last", "tokens"]


@dataclass(frozen=True)
class Feature:
    """What a module puts out: a feature map or tokens.

    Attributes:
        tap: name, channels and stride (rows of the image per row of the map, rounded).
        pixels: rows and columns; of N tokens the root of N, rounded down.
        arrangement: where its channels are.
        twins: other modules that put out the very same tensor, such as the last block of a sequence.
        weighty: has the module parameters?
    """

    tap: Tap
    pixels: tuple[int, int]
    arrangement: Arrangement
    twins: frozenset[str]
    weighty: bool
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Probed:
    """A network as it ran.

    Attributes:
        result: what it returned.
        features: what can be tapped, in the order in which it was put out.
    """

    result: object
    features: tuple[Feature, ...]

    def find(self, name: str) -> Feature:
        """Return what the module `name` puts out.

        Raises:
            ValueError: one line that lists the modules there are, the nearest first.
        """
        there = {feature.tap.name: feature for feature in self.features}
        if name in there:
            return there[name]
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        rule = "must be modules that run and put out feature maps [B, C, H, W], [B, H, W, C] or tokens [B, N, C]"
        raise ValueError(f"taps: {rule}: {hint}{_listed(list(there))}; got {name!r}")

    def position(self, name: str) -> int:
        """Return what sorts taps from shallow to deep: when their modules had first run to their ends."""
        return [feature.tap.name for feature in self.features].index(name)

    def after(self, name: str) -> tuple[Tap, ...]:
        """Return the ends of the stages after a tap: of each lower resolution the last map, with channels and stride.

        A detour through a lower resolution (squeeze and excitation) is none, nor is what global pooling leaves.
        """
        tapped = self.find(name)
        later = [
            feature
            for feature in self.features[self.position(name) + 1 :]
            if feature.weighty and feature.arrangement == "map"
        ]
        ends: list[Feature] = []
        for feature in reversed(later):
            smallest = ends[-1].pixels if ends else (0, 0)
            if feature.pixels > smallest and feature.pixels < tapped.pixels:
                ends.append(feature)
        if ends and ends[0].pixels == (1, 1):
            before = (ends[1] if len(ends) > 1 else tapped).pixels
            if max(before) > POOLING:
                del ends[0]
        return tuple(feature.tap for feature in reversed(ends))


def probe(model: nn.Module, images: Tensor) -> Probed:
    """Run `model` once on `images` [B, C, H, W], evaluating; nothing of it, and no random stream, is changed by it.

    Raises:
        ValueError: one line, if it does not take such images.
    """
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    device = images.device
    try:
        with _untouched(model, device), torch.no_grad():
            result, outputs = run_tapped(model, images, names)
    except (Exception, SystemExit) as error:  # whatever somebody's code may raise
        first = (str(error).splitlines() or [""])[0] if isinstance(error, _OF_SHAPES) else in_one_line(error)
        raise ValueError(f"it does not run on images {list(images.shape)}: {first}") from error
    twins: dict[int, set[str]] = {}
    for name, output in outputs.items():
        twins.setdefault(id(output), set()).add(name)
    features: list[Feature] = []
    for name, output in outputs.items():
        if isinstance(output, Tensor) and (arrangement := arranged(output, images)):
            parameters = model.get_submodule(name).parameters()
            twin = frozenset(twins[id(output)])
            features.append(_feature(name, output, images, arrangement, twin, next(parameters, None) is not None))
    return Probed(result, tuple(features))


def arranged(output: Tensor, images: Tensor) -> Arrangement | None:
    """Return where the channels of a feature of `images` are; None: it is none.

    Square images make square maps, which tells [B, C, H, W] from [B, H, W, C]; others are taken for the former.
    """
    if not output.is_floating_point() or output.ndim not in (3, 4) or output.shape[0] != images.shape[0]:
        return None
    if output.ndim == 3:
        return "tokens"
    is_square = images.shape[2] == images.shape[3]
    if not is_square or output.shape[2] == output.shape[3]:
        return "map"
    return "map_last" if output.shape[1] == output.shape[2] else None


def _feature(
    name: str, output: Tensor, images: Tensor, arrangement: Arrangement, twins: frozenset[str], weighty: bool
) -> Feature:
    if arrangement == "map":
        channels, rows, columns = output.shape[1:]
    elif arrangement == "map_last":
        rows, columns, channels = output.shape[1:]
    else:
        rows = columns = max(1, math.isqrt(output.shape[1]))
        channels = output.shape[2]
    tap = Tap(name, channels, max(1, round(images.shape[2] / rows)))
    return Feature(tap, (rows, columns), arrangement, twins, weighty, output.device, output.dtype)


@contextmanager
def _untouched(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluate inside; put back modes, buffers and random streams."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    own = [device] if device.type not in ("cpu", "meta") else []
    with torch.random.fork_rng(devices=own, device_type=device.type if own else "cuda"):
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)


def _listed(names: Sequence[str]) -> str:
    """Return the outermost names first, and how many more there are."""
    shown = sorted(names, key=lambda name: name.count("."))[:SHOWN]
    more = f" and {len(names) - len(shown)} more (named_modules)" if len(names) > len(shown) else ""
    return f"{', '.join(shown) or 'there is none'}{more}"
