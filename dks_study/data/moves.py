"""Shift and mirror a batch: one gather, whatever each image's own shift."""

import torch
from torch import Tensor

from dks_study.data_spec import DataSpec


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
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) + moves[:, :1]
    columns = torch.arange(width, device=images.device) + moves[:, 1:2]
    columns = torch.where(moves[:, 2:3].bool(), columns.flip(1), columns)
    batch = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    inwards = _reflect if spec.crop_pad_mode == "reflect" else _nearest
    rows_in, columns_in = inwards(rows, height), inwards(columns, width)
    # Advanced indices around the channel slice put the channels last; move them back.
    moved = images[batch, :, rows_in.unsqueeze(2), columns_in.unsqueeze(1)].permute(0, 3, 1, 2)
    if spec.crop_pad_mode == "reflect":
        return moved
    inside = (rows == rows_in).unsqueeze(2) & (columns == columns_in).unsqueeze(1)
    return moved * inside.unsqueeze(1)


def _reflect(position: Tensor, size: int) -> Tensor:
    position = position.abs()
    return (size - 1) - (size - 1 - position).abs()


def _nearest(position: Tensor, size: int) -> Tensor:
    return position.clamp(0, size - 1)
