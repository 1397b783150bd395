"""Data sets in memory: stratified splits, label noise, and batches that are augmented as batches.

Images are uint8 [N, C, H, W] until they enter the network; labels are int64 [N]. Validation is cut from the training
images by a fixed split seed; noise touches training labels only. Shuffling, augmentation and noise depend on the
trial's seed and on nothing else, so all arms of a study see the same images in the same order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision import datasets

from dks_study.spec import DataSpec
from dks_study.streams import generator

DIGITS_TEST_IMAGES = 450


class DataError(ValueError):
    """The data cannot be had; the message is one line that names the key to change."""


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, C, H, W] with labels int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    def take(self, indices: Any) -> "Split":  # noqa: ANN401 - numpy or torch indices
        """Return the images at `indices`, in that order."""
        return Split(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> "Split":
        """Return the split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class DataSet:
    """The three splits; mean and std per channel of the training images, in units of a pixel's range 0 to 1."""

    train: Split
    validation: Split
    test: Split
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def normalise(self, images: Tensor) -> Tensor:
        """Turn uint8 [B, C, H, W] into float32 of mean 0 and variance 1 per channel (over the training images)."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        return (images.float() / 255 - mean) / std


_TORCHVISION = {
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
    "fashion_mnist": datasets.FashionMNIST,
}


@lru_cache(maxsize=2)
def load(spec: DataSpec) -> DataSet:
    """Read the data set of `spec` and split it; labels are the true ones.

    Raises:
        DataError: if the files are not under `root`.
    """
    if spec.name == "digits":
        whole, classes = _digits(), 10
        rest, held_out = _stratified(whole.labels, DIGITS_TEST_IMAGES, spec.split_seed)
        pool, test = whole.take(rest), whole.take(held_out)
    else:
        pool, classes = _torchvision(spec, train=True)
        test, _ = _torchvision(spec, train=False)
    validation_images = round(len(pool) * spec.validation_fraction)
    if validation_images < classes:
        raise DataError(
            f"data.validation_fraction: must leave an image of each of {classes} classes, got {validation_images}"
        )
    kept, cut = _stratified(pool.labels, validation_images, spec.split_seed)
    train = pool.take(kept)
    pixels = train.images.to(torch.float64) / 255
    mean, std = pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3))
    return DataSet(train, pool.take(cut), test, classes, tuple(mean.tolist()), tuple(std.tolist()))


def _digits() -> Split:
    bunch = load_digits()
    images = (bunch.images * 15).astype(np.uint8)  # grey levels 0 to 16 become 0 to 240
    return Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(bunch.target).long())


def _torchvision(spec: DataSpec, train: bool) -> tuple[Split, int]:
    try:
        source = _TORCHVISION[spec.name](root=spec.root, train=train, download=spec.download)
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:
        hint = "give the folder that holds the files, or set data.download: true"
        raise DataError(f"data.root: {hint}; {spec.name} is not in {spec.root!r}") from error
    images = torch.as_tensor(source.data)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.as_tensor(source.targets, dtype=torch.int64)), len(source.classes)


def _stratified(labels: Tensor, held_out: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    kept, cut = train_test_split(np.arange(len(labels)), test_size=held_out, random_state=seed, stratify=labels.numpy())
    return np.sort(kept), np.sort(cut)


def noisy_labels(labels: Tensor, classes: int, fraction: float, seed: int) -> Tensor:
    """Return int64 [N] in which round(fraction * N) labels are another class, drawn uniformly (symmetric noise)."""
    source = generator(seed, "label_noise")
    wrong = torch.randperm(len(labels), generator=source)[: round(fraction * len(labels))]
    shift = torch.randint(1, classes, (len(wrong),), generator=source)
    noisy = labels.clone()
    noisy[wrong] = (labels[wrong] + shift) % classes
    return noisy


def batch_sizes(images: int, batch_size: int, keep_partial: bool, workers: int) -> list[int]:
    """Return the sizes of an epoch's global batches.

    A last partial batch is kept only if asked, and only if every worker gets two images of it: batch norm cannot
    normalise a single one.

    Raises:
        DataError: if that leaves no batch.
    """
    if batch_size < 2 * workers:
        raise DataError(f"optimiser.batch_size: must be at least 2 for each of {workers} workers, got {batch_size}")
    full, rest = divmod(images, batch_size)
    sizes = [batch_size] * full + ([rest] if keep_partial and rest >= 2 * workers else [])
    if not sizes:
        raise DataError(f"optimiser.batch_size: must be at most the {images} training images, got {batch_size}")
    return sizes


def train_batches(
    split: Split, spec: DataSpec, sizes: list[int], *, seed: int, epoch: int, rank: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this worker's share of each global batch, augmented: uint8 [b, C, H, W] and int64 [b].

    The shares of all workers together are the global batch, whatever their number.
    """
    order = torch.randperm(len(split), generator=generator(seed, "order", epoch)).to(split.labels.device)
    for step, indices in enumerate(torch.split(order[: sum(sizes)], sizes)):
        draws = generator(seed, "augment", epoch, step)
        moves = _draw_moves(len(indices), spec, draws)[rank::workers].to(split.images.device)
        share = split.take(indices[rank::workers])
        yield (_move(share.images, moves, spec) if spec.flip or spec.crop_pad_pixels else share.images), share.labels


def _draw_moves(count: int, spec: DataSpec, draws: torch.Generator) -> Tensor:
    """Return int64 [count, 3]: rows down, columns right (both -pad to pad), mirrored or not (0 or 1)."""
    pad = spec.crop_pad_pixels
    offsets = torch.randint(-pad, pad + 1, (count, 2), generator=draws)
    mirrored = torch.randint(0, 2, (count, 1), generator=draws) * int(spec.flip)
    return torch.cat([offsets, mirrored], dim=1)


def _move(images: Tensor, moves: Tensor, spec: DataSpec) -> Tensor:
    """Shift each image by up to `crop_pad_pixels` (reflecting at the border) and mirror it: one gather."""
    height, width = images.shape[-2:]
    rows = _reflect(torch.arange(height, device=images.device) + moves[:, :1], height)
    columns = _reflect(torch.arange(width, device=images.device) + moves[:, 1:2], width)
    columns = torch.where(moves[:, 2:3].bool(), columns.flip(1), columns)
    batch = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    # Advanced indices around the channel slice put the channels last; move them back.
    return images[batch, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def _reflect(position: Tensor, size: int) -> Tensor:
    position = position.abs()
    return (size - 1) - (size - 1 - position).abs()
