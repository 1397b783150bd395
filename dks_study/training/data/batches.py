"""Batches for training and evaluation: the same images whatever the number of workers, augmented on the device.

Every draw is made for the whole global batch from a stream of its own, and each worker takes its part: an
augmentation that is switched on changes no draw of another.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dks_study.method.streams import generator
from dks_study.spec.data import DataSpec
from dks_study.training.data.erasing import draw_rectangles, draw_squares, erase
from dks_study.training.data.error import DataError
from dks_study.training.data.files import Files
from dks_study.training.data.mixing import Share, draw_mix, mix_images, mix_labels, share_of
from dks_study.training.data.moves import draw_moves, move
from dks_study.training.data.sets import AnySplit

EVALUATION_BATCH = 1000
SMALL_PIXELS = 64  # the side up to which an image in memory is a small one
DECODED_EVALUATION_BATCH = 250  # of large images: as many bytes as a few thousand small ones


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


@dataclass(frozen=True)
class _Step:
    """One global batch of an epoch: `indices` int64 [n] of its images, the worker's share, the streams' seed."""

    seed: int
    epoch: int
    number: int
    indices: Tensor
    share: Share

    @property
    def chosen(self) -> Tensor:
        """Indices of the images that the worker reads."""
        return self.indices[self.share.needed]

    def draws(self, name: str) -> torch.Generator:
        return generator(self.seed, name, self.epoch, self.number)


def train_batches(
    split: AnySplit,
    spec: DataSpec,
    sizes: list[int],
    *,
    seed: int,
    epoch: int,
    rank: int,
    workers: int,
    classes: int = 0,
    mean: tuple[float, ...] = (),
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this worker's share of each global batch, augmented: images [b, C, H, W] in 0 to 255 and targets.

    Images are uint8, mixup's float32. Targets are int64 [b], or distributions float32 [b, classes] of mixed images.
    The shares of all workers together are the global batch, whatever their number.

    Args:
        split: the training images with the labels to train on.
        spec: what is done to them.
        sizes: n of each global batch.
        seed: the trial's.
        epoch: from 1.
        rank: of this worker.
        workers: how many there are.
        classes: needed by mixup and CutMix.
        mean: per channel, 0 to 1: the colour of erased places and of RandAugment's borders, needed by these.
    """
    order = torch.randperm(len(split), generator=generator(seed, "order", epoch))
    steps = [
        _Step(seed, epoch, number, indices, share_of(len(indices), rank, workers, spec.mixes))
        for number, indices in enumerate(torch.split(order[: sum(sizes)], sizes))
    ]
    colour = (torch.tensor(mean) * 255).round().to(torch.uint8)
    for step, images in zip(steps, _pictures(split, spec, steps, epoch, seed), strict=True):
        labels = split.labels[_copied(step.chosen, split.labels)]
        images = _erased(_rand_augmented(images, spec, step, colour), spec, step, colour)
        yield _mixed(images, labels, spec, step, classes) if spec.mixes else (images, labels)


def evaluation_batches(split: AnySplit, rank: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield uint8 [b, C, H, W] and int64 [b]: this worker's share of the split, as it is."""
    share = split.take(slice(rank, None, workers))
    if isinstance(share, Files):
        parts = torch.split(torch.arange(len(share)), DECODED_EVALUATION_BATCH) if len(share) else ()
        for part, images in zip(parts, share.decode(parts), strict=True):
            yield images, share.labels[_copied(part, share.labels)]
        return
    size = EVALUATION_BATCH if max(split.image_shape[1:]) <= SMALL_PIXELS else DECODED_EVALUATION_BATCH
    for start in range(0, len(share), size):
        batch = share.take(slice(start, start + size))
        yield batch.images, batch.labels


def _pictures(split: AnySplit, spec: DataSpec, steps: list[_Step], epoch: int, seed: int) -> Iterator[Tensor]:
    """Yield the images that the worker reads in each step, cropped and mirrored."""
    if isinstance(split, Files):
        yield from split.decode((step.chosen for step in steps), epoch, seed)
        return
    for step in steps:
        images = split.images.index_select(0, _copied(step.chosen, split.images))  # copies whole images, [...] bytes
        if spec.flip or spec.crop_pad_pixels:
            moves = draw_moves(len(step.indices), spec, step.draws("augment"))
            images = move(images, _copied(moves[step.share.needed], images), spec)
        yield images


def _rand_augmented(images: Tensor, spec: DataSpec, step: _Step, colour: Tensor) -> Tensor:
    if not spec.rand_augment_operations:
        return images
    from dks_study.training.data.rand_augment import (  # needs torchvision, which takes a second
        draw_operations,
        rand_augment,
    )

    drawn = draw_operations(len(step.indices), spec.rand_augment_operations, step.draws("rand_augment"))
    return rand_augment(images, drawn[step.share.needed], spec.rand_augment_magnitude, colour)


def _erased(images: Tensor, spec: DataSpec, step: _Step, colour: Tensor) -> Tensor:
    count, (height, width) = len(step.indices), images.shape[-2:]
    boxes = []
    if spec.cutout_pixels:
        boxes.append(draw_squares(count, (height, width), spec.cutout_pixels, step.draws("cutout")))
    if spec.random_erasing:
        boxes.append(draw_rectangles(count, (height, width), spec.random_erasing, step.draws("random_erasing")))
    for box in boxes:
        images = erase(images, _copied(box[step.share.needed], images), _copied(colour, images))
    return images


def _mixed(images: Tensor, labels: Tensor, spec: DataSpec, step: _Step, classes: int) -> tuple[Tensor, Tensor]:
    height, width = images.shape[-2:]
    mix = draw_mix(spec, (height, width), step.seed, step.epoch, step.number)
    own, partner = _copied(step.share.own, images), _copied(step.share.partner, images)
    targets = mix_labels(labels[own], labels[partner], mix, classes)
    return mix_images(images[own], images[partner], mix), targets


def _copied(small: Tensor, where: Tensor) -> Tensor:
    """Copy what was drawn to the device of `where` without waiting for what that has still to do."""
    return small.to(where.device, non_blocking=True)
