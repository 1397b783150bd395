"""Rectangles of the mean colour: CutOut (DeVries and Taylor, 2017) and random erasing (Zhong et al., AAAI 2020)."""

import math

import torch
from torch import Tensor

ERASED_AREAS = (0.02, 0.33)  # of the image
LARGEST_ASPECT = 3.3  # height by width, or width by height


def draw_squares(count: int, size: tuple[int, int], side: int, draws: torch.Generator) -> Tensor:
    """Return int64 [count, 4] (top, left, bottom, right): squares of `side` pixels around any pixel, maybe beyond."""
    centres = _integers(torch.rand(count, 2, generator=draws), torch.tensor(size))
    first = centres - side // 2
    return torch.cat([first, first + side], dim=1)


def draw_rectangles(count: int, size: tuple[int, int], probability: float, draws: torch.Generator) -> Tensor:
    """Return int64 [count, 4] (top, left, bottom, right) within the image; with 1 - `probability` an empty one.

    The area is uniform, the aspect ratio log-uniform; a side that would be longer than the image's is cut to it.
    """
    chance, area, aspect, *place = torch.rand(5, count, generator=draws).unbind(0)
    pixels = size[0] * size[1] * (ERASED_AREAS[0] + area * (ERASED_AREAS[1] - ERASED_AREAS[0]))
    height_by_width = torch.exp((2 * aspect - 1) * math.log(LARGEST_ASPECT))
    sides = torch.stack([pixels * height_by_width, pixels / height_by_width], dim=1).sqrt().round().long()
    sides = sides.clamp(min=1).minimum(torch.tensor(size)) * (chance < probability).long().unsqueeze(1)
    first = _integers(torch.stack(place, dim=1), torch.tensor(size) - sides + 1)
    return torch.cat([first, first + sides], dim=1)


def _integers(uniform: Tensor, below: Tensor) -> Tensor:
    """Turn numbers in [0, 1) into integers in [0, below)."""
    return (uniform * below).long().minimum(below - 1)


def erase(images: Tensor, boxes: Tensor, colour: Tensor) -> Tensor:
    """Fill the box [B, 4] (top, left, bottom, right) of each image [B, C, H, W] with `colour` [C]."""
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[-2:])
    top, left, bottom, right = boxes.unsqueeze(2).unbind(1)
    inside = ((rows >= top) & (rows < bottom)).unsqueeze(2) & ((columns >= left) & (columns < right)).unsqueeze(1)
    return torch.where(inside.unsqueeze(1), colour.to(images.dtype).view(1, -1, 1, 1), images)
