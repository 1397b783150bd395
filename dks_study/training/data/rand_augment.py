"""RandAugment (Cubuk et al., 2020) on batches: images that get the same operation get it in one call.

Operations and strengths are those of torchvision's RandAugment (31 magnitudes, the sign of a signed one at random,
nearest neighbour); what comes in at the border is of the mean colour.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

Operation = Callable[[Tensor, float, list[float]], Tensor]
LARGEST_MAGNITUDE = 30


def _affine(images: Tensor, fill: list[float], **change: list[float] | list[int]) -> Tensor:
    still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    return torch.as_tensor(F.affine(images, **(still | change), fill=fill))


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


def _shear_x(images: Tensor, level: float, fill: list[float]) -> Tensor:
    return _affine(images, fill, shear=[_degrees(0.3 * level), 0.0], center=[0, 0])


def _shear_y(images: Tensor, level: float, fill: list[float]) -> Tensor:
    return _affine(images, fill, shear=[0.0, _degrees(0.3 * level)], center=[0, 0])


def _translate_x(images: Tensor, level: float, fill: list[float]) -> Tensor:
    return _affine(images, fill, translate=[int(150 / 331 * images.shape[-1] * level), 0])


def _translate_y(images: Tensor, level: float, fill: list[float]) -> Tensor:
    return _affine(images, fill, translate=[0, int(150 / 331 * images.shape[-2] * level)])


# What each does with images uint8 [B, C, H, W] at a level: -1 to 1 if signed, else 0 to 1.
SIGNED: dict[str, Operation] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": lambda images, level, fill: F.rotate(images, 30 * level, fill=fill),
    "brightness": lambda images, level, fill: F.adjust_brightness(images, 1 + 0.9 * level),
    "colour": lambda images, level, fill: F.adjust_saturation(images, 1 + 0.9 * level),
    "contrast": lambda images, level, fill: F.adjust_contrast(images, 1 + 0.9 * level),
    "sharpness": lambda images, level, fill: F.adjust_sharpness(images, 1 + 0.9 * level),
}
UNSIGNED: dict[str, Operation] = {
    "identity": lambda images, level, fill: images,
    "posterize": lambda images, level, fill: F.posterize(images, 8 - round(4 * level)),
    "solarize": lambda images, level, fill: F.solarize(images, 255 * (1 - level)),
    "auto_contrast": lambda images, level, fill: F.autocontrast(images),
    "equalize": lambda images, level, fill: F.equalize(images),
}
OPERATIONS = tuple((SIGNED | UNSIGNED).items())


def draw_operations(count: int, operations: int, draws: torch.Generator) -> Tensor:
    """Return int64 [count, operations, 2]: which of OPERATIONS, and whether a signed one goes the other way."""
    which = torch.randint(0, len(OPERATIONS), (count, operations), generator=draws)
    backwards = torch.randint(0, 2, (count, operations), generator=draws) * (which < len(SIGNED))
    return torch.stack([which, backwards], dim=2)


def rand_augment(images: Tensor, drawn: Tensor, magnitude: int, colour: Tensor) -> Tensor:
    """Apply to each image its operations, one after the other.

    Args:
        images: uint8 [B, C, H, W], C being 1 or 3.
        drawn: int64 [B, operations, 2] on the CPU, from `draw_operations`.
        magnitude: 0 to 30.
        colour: uint8 [C], for what comes in at the border.
    """
    level, fill = magnitude / LARGEST_MAGNITUDE, [float(value) for value in colour.tolist()]
    for turn in drawn.unbind(1):
        changed = images.clone()
        for which, backwards in sorted({tuple(pair) for pair in turn.tolist()}):
            members = (turn == torch.tensor([which, backwards])).all(1).nonzero().squeeze(1)
            group = members.to(images.device, non_blocking=True)
            changed[group] = OPERATIONS[which][1](images[group], -level if backwards else level, fill)
        images = changed
    return images
