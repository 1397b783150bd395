"""Shift and mirror a batch: one copy of rows, whatever each image's own shift."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dks_study.spec.data import DataSpec


def draw_moves(count: int, spec: DataSpec, draws: torch.Generator) -> Tensor:
    """Return int64 [count, 3]: rows down, columns right (both -pad to pad), mirrored or not (0 or 1)."""
    pad = spec.crop_pad_pixels
    offsets = torch.randint(-pad, pad + 1, (count, 2), generator=draws)
    mirrored = torch.randint(0, 2, (count, 1), generator=draws) * int(spec.flip)
    return torch.cat([offsets, mirrored], dim=1)


def move(images: Tensor, moves: Tensor, spec: DataSpec) -> Tensor:
    """Shift each image [B, C, H, W] by its `moves` [B, 3] and mirror it.

    What comes in at the border is the image reflected, or 0 (black), as `crop_pad_mode` says.
    """
    count, channels, height, width = images.shape
    padded = _pad(images, spec.crop_pad_pixels, spec.crop_pad_mode)
    either = torch.cat([padded, padded.flip(3)])  # [2 B, C, H + 2 pad, W + 2 pad]: as they are, then mirrored
    down, right, mirrored = moves.unbind(1)
    top, left = spec.crop_pad_pixels + down, spec.crop_pad_pixels + right * (1 - 2 * mirrored)
    which = mirrored * count + torch.arange(count, device=images.device)
    # A row of the result is `width` neighbours in memory, wherever they begin: all rows are copied at once, as rows.
    per_image, per_channel, per_row, _ = either.stride()
    first = which * per_image + top * per_row + left
    channel = torch.arange(channels, device=images.device) * per_channel
    row = torch.arange(height, device=images.device) * per_row
    starts = first.view(-1, 1, 1) + channel.view(-1, 1) + row  # [B, C, H]
    return either.flatten().unfold(0, width, 1).index_select(0, starts.flatten()).view(images.shape)


def _pad(images: Tensor, pad: int, mode: str) -> Tensor:
    """Return images [B, C, H, W] with `pad` more pixels at each border; torch's own cannot reflect bytes."""
    if mode == "zero":
        return F.pad(images, (pad, pad, pad, pad))
    for side in (2, 3):
        size = images.shape[side]
        before, after = images.narrow(side, 1, pad), images.narrow(side, size - 1 - pad, pad)
        images = torch.cat([before.flip(side), images, after.flip(side)], side)
    return images
