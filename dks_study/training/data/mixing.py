"""mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019): pairs of images, and what they are labelled.

The partner of image i of a global batch of n is image i + n // 2: the order is random anyway, so this is a random
partner, never the image itself, and it is the same whatever the number of workers. (Where the workers' number divides
n // 2, it is in the same worker's share; else the worker reads it, too.)
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Beta

from dks_study.method.streams import generator, seeded
from dks_study.spec.data import DataSpec


class Share(NamedTuple):
    """One worker's part of a global batch.

    Attributes:
        needed: the images that it reads: positions in the global batch, int64 [m].
        own: where its own images are among those, int64 [b].
        partner: where their partners are, int64 [b]; own where nothing is mixed.
    """

    needed: Tensor
    own: Tensor
    partner: Tensor


class Mix(NamedTuple):
    """How a whole batch is mixed: the image's own fraction, or else the box (top, left, bottom, right) of the other."""

    own: float
    box: tuple[int, int, int, int] | None


def share_of(images: int, rank: int, workers: int, mixes: bool) -> Share:
    """Return the share of worker `rank` in a global batch of `images`: every `workers`-th."""
    mine = torch.arange(rank, images, workers)
    if not mixes:
        return Share(mine, torch.arange(len(mine)), torch.arange(len(mine)))
    partners = (mine + images // 2) % images
    needed, where = torch.unique(torch.cat([mine, partners]), return_inverse=True)
    return Share(needed, where[: len(mine)], where[len(mine) :])


def draw_mix(spec: DataSpec, size: tuple[int, int], seed: int, *step: int) -> Mix:
    """Draw how this step's batch of images of `size` (height, width) is mixed.

    The box of CutMix may be cut off by the border; then the image's own fraction is larger than what was drawn.
    """
    draws = generator(seed, "mix", *step)
    coin, row, column = torch.rand(3, generator=draws).tolist()
    cut = spec.cutmix_alpha > 0 and (spec.mixup_alpha == 0 or coin < 0.5)
    alpha = torch.tensor(spec.cutmix_alpha if cut else spec.mixup_alpha, dtype=torch.float64)
    with seeded(seed, "mix_fraction", *step):
        own = float(Beta(alpha, alpha).sample())
    if not cut:
        return Mix(own, None)
    height, width = size
    half = [int(side * (1 - own) ** 0.5) // 2 for side in size]
    centre = int(row * height), int(column * width)
    top, left = max(0, centre[0] - half[0]), max(0, centre[1] - half[1])
    bottom, right = min(height, centre[0] + half[0]), min(width, centre[1] + half[1])
    return Mix(1 - (bottom - top) * (right - left) / (height * width), (top, left, bottom, right))


def mix_images(images: Tensor, partners: Tensor, mix: Mix) -> Tensor:
    """Return mixup's float32 or CutMix's uint8 [B, C, H, W] of 0 to 255, from uint8 images."""
    if mix.box is None:
        return mix.own * images.float() + (1 - mix.own) * partners.float()
    top, left, bottom, right = mix.box
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
    return mixed


def mix_labels(labels: Tensor, partners: Tensor, mix: Mix, classes: int) -> Tensor:
    """Return distributions over classes, float32 [B, classes], from labels int64 [B]."""
    return mix.own * F.one_hot(labels, classes).float() + (1 - mix.own) * F.one_hot(partners, classes).float()
