"""From a description to the three splits: validation is cut first, then the training images are thinned."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from dks_study.spec.data import DataSpec
from dks_study.training.data.error import DataError
from dks_study.training.data.files import Files
from dks_study.training.data.noise import next_in_group
from dks_study.training.data.sets import AnySplit, DataSet

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class _Statistics:
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load(spec: DataSpec) -> DataSet:
    """Read the data set of `spec` and split it; labels are the true ones.

    Raises:
        DataError: if the files are not under `root`, or the numbers in `spec` do not fit them.
    """
    data = read_and_split(spec.as_read)
    _check_sizes(data.image_shape, spec)
    return data


@lru_cache(maxsize=2)
def read_and_split(spec: DataSpec) -> DataSet:
    """Do the work of `load`; kept for the specs asked for last."""
    # scikit-learn and torchvision take seconds to import: not in processes that are handed the data.
    from dks_study.training.data.sources import read_source
    from dks_study.training.data.splits import stratified

    source = read_source(spec)
    pool, classes = source.pool, source.classes
    validation_images = round(len(pool) * spec.validation_fraction)
    if validation_images < classes:
        raise DataError(
            f"data.validation_fraction: must leave an image of each of {classes} classes, got {validation_images}"
        )
    kept, cut = stratified(pool.labels, validation_images, spec.split_seed)
    train = _thin(pool.take(kept), classes, spec)
    numbers = _Statistics(IMAGENET_MEAN, IMAGENET_STD) if isinstance(train, Files) else _statistics(train.images)
    confusions = source.confusions or next_in_group([0] * classes)
    return DataSet(train, pool.take(cut), source.test, classes, numbers.mean, numbers.std, confusions)


def _thin(train: AnySplit, classes: int, spec: DataSpec) -> AnySplit:
    from dks_study.training.data.splits import long_tail, subset

    if spec.imbalance > 1:
        train = train.take(long_tail(train.labels, classes, spec.imbalance, spec.split_seed))
    if spec.train_images is not None:
        train = train.take(subset(train.labels, classes, spec.train_images, spec.split_seed))
    return train


def _check_sizes(image_shape: tuple[int, int, int], spec: DataSpec) -> None:
    side = min(image_shape[1:])
    if spec.crop_pad_pixels >= side:
        raise DataError(f"data.crop_pad_pixels: must be below the {side} pixels of a side, got {spec.crop_pad_pixels}")
    if spec.cutout_pixels > side:
        raise DataError(f"data.cutout_pixels: must be at most the {side} pixels of a side, got {spec.cutout_pixels}")


def _statistics(images: Tensor) -> _Statistics:
    """Mean and (unbiased) standard deviation per channel, exactly: sums of integers over a histogram of the pixels."""
    counts = [torch.bincount(channel.reshape(-1), minlength=256).tolist() for channel in images.unbind(1)]
    values, pixels = range(256), images[:, 0].numel()
    sums = [sum(n * v for n, v in zip(count, values, strict=True)) for count in counts]
    squares = [sum(n * v * v for n, v in zip(count, values, strict=True)) for count in counts]
    variances = [(pixels * q - s * s) / (pixels * (pixels - 1)) for q, s in zip(squares, sums, strict=True)]
    return _Statistics(tuple(s / pixels / 255 for s in sums), tuple(v**0.5 / 255 for v in variances))
