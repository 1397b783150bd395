"""How a network that was written elsewhere is walked: a stem, stages of blocks and a head, named, never rewritten.

A step is the dotted name of a module, or one of a few functions that networks call between modules (`:flatten`).
Stages are the runs of blocks that put out the same resolution.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

Steps = tuple[str, ...]  # run one after another
PROBE_PIXELS = 224  # side of the image that shapes are traced with


class Mean(nn.Module):
    """Average over all pixels: [B, C, H, W] -> [B, C]."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the channels' means."""
        return inputs.mean([2, 3])


FUNCTIONS = {
    ":relu": nn.ReLU(),
    ":pool": nn.AdaptiveAvgPool2d(1),
    ":flatten": nn.Flatten(1),
    ":mean": Mean(),
}


class LayoutError(ValueError):
    """The network cannot be walked; the message is the reason."""


@dataclass(frozen=True)
class Layout:
    """The steps of a network.

    Attributes:
        stem: before the first stage.
        stages: of each stage its blocks, of each block its steps.
        head: from the last stage's output to logits.
    """

    stem: Steps
    stages: tuple[tuple[Steps, ...], ...]
    head: Steps


def module_of(model: nn.Module, step: str) -> nn.Module:
    """Return the module that a step runs."""
    return FUNCTIONS[step] if step in FUNCTIONS else model.get_submodule(step)


def run(model: nn.Module, steps: Steps, inputs: Tensor) -> Tensor:
    """Return what the steps make of `inputs`."""
    for step in steps:
        inputs = module_of(model, step)(inputs)
    return inputs


def walked(model: nn.Module, layout: Layout, images: Tensor, inner: Collection[str] = ()) -> dict[str, Tensor]:
    """Return feature maps by tap, shallow to deep: of every stage's end, and of the inner taps named."""
    features: dict[str, Tensor] = {}
    current = run(model, layout.stem, images)
    for number, stage in enumerate(layout.stages, start=1):
        for position, block in enumerate(stage, start=1):
            current = run(model, block, current)
            if (name := f"stage{number}.{position}") in inner:
                features[name] = current
        features[f"stage{number}"] = current
    return features


def units(model: nn.Module, names: Collection[str], without: Collection[str] = ()) -> Iterator[str]:
    """Yield the names of the modules to walk: sequences are opened as long as they hold more than one convolution."""
    for name in names:
        module = model.get_submodule(name)
        if not isinstance(module, nn.Sequential):
            yield name
            continue
        for child, part in module.named_children():
            inner = f"{name}.{child}"
            if isinstance(part, nn.Sequential) and is_long(part):
                yield from units(model, [inner], without)
            elif inner not in without:
                yield inner


def is_composed(module: nn.Module) -> bool:
    """Has the module convolutions or linear layers inside it, rather than being one?"""
    return any(isinstance(part, nn.Conv2d | nn.Linear) for part in module.modules() if part is not module)


def is_long(sequence: nn.Module) -> bool:
    """Is it more than a convolution with its norm and activation: are there blocks, or several convolutions?"""
    parts = list(sequence.children())
    return any(map(is_composed, parts)) or sum(isinstance(part, nn.Conv2d) for part in parts) > 1


def arrange(model: nn.Module, stem: Steps, trunk: Sequence[str], head: Steps, probe: Tensor) -> Layout:
    """Group the trunk's steps into blocks, and these into stages of equal resolution.

    Args:
        model: on the meta device, if shapes are all that is wanted.
        stem: steps before the trunk; single layers at the trunk's beginning join it where composed blocks follow.
        trunk: steps in the order in which they run.
        head: steps after the trunk; pooling at the trunk's end joins it.
        probe: images [B, C, H, W] to trace.

    Raises:
        LayoutError: if there are fewer than two stages.
    """
    composed = [is_composed(module_of(model, step)) for step in trunk]
    leading = composed.index(True) if any(composed) else 0
    stem, trunk = (*stem, *trunk[:leading]), trunk[leading:]
    blocks = _blocks(model, trunk)
    while blocks and not _has_parameters(model, blocks[-1]):
        head = (*blocks.pop(), *head)
    strides: list[int] = []
    with torch.no_grad():
        features = run(model, stem, probe)
        for block in blocks:
            features = run(model, block, features)
            if features.ndim != 4 or features.shape[-1] != features.shape[-2]:
                raise LayoutError(f"{block[-1]} puts out {list(features.shape)} for square images, not [B, C, H, W]")
            strides.append(stride_of(features))
    stages = tuple(tuple(blocks[i] for i in group) for _, group in groupby(range(len(blocks)), strides.__getitem__))
    if len(stages) < 2:
        raise LayoutError(f"it has {len(stages)} stage(s) of its own resolution, and a branch needs one to follow")
    return Layout(stem, stages, head)


def stride_of(features: Tensor) -> int:
    """Return the stride of a feature map of a probe, to the nearest power of two: some networks do not pad."""
    return int(2 ** round(math.log2(PROBE_PIXELS / features.shape[-1])))


def _blocks(model: nn.Module, trunk: Sequence[str]) -> list[Steps]:
    """Join single layers to blocks: a convolution with what follows it, and pooling with what comes after."""
    blocks: list[Steps] = []
    for step in trunk:
        module = module_of(model, step)
        begins = is_composed(module) or isinstance(module, nn.Conv2d) or _pools(module)
        if not blocks or (begins and _has_parameters(model, blocks[-1])):
            blocks.append((step,))
        else:
            blocks[-1] = (*blocks[-1], step)
    return blocks


def _pools(module: nn.Module) -> bool:
    return isinstance(module, nn.MaxPool2d | nn.AvgPool2d)


def _has_parameters(model: nn.Module, steps: Steps) -> bool:
    return any(next(module_of(model, step).parameters(), None) is not None for step in steps)
