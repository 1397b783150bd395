"""From a description to the three splits: validation is cut first, then the training images are thinned."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dks_study.spec.data import FOLDERS, DataSpec, is_callable
from dks_study.training.data.error import DataError
from dks_study.training.data.files import Files
from dks_study.training.data.further import Further, read_tests
from dks_study.training.data.listing import Listing
from dks_study.training.data.noise import next_in_group
from dks_study.training.data.sets import AnySplit, DataSet

HASH_BYTES = 16
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class _Statistics:
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Read:
    """A data set, and what is known of its images besides.

    Attributes:
        listing: of the files, where there is one for each image.
        pool_labels, test_labels: int64, of all images that there are, in their order.
        kept, cut: positions in the pool of what is trained on (before it is thinned) and of validation.
        pool_hashes, test_hashes: of each image's pixels in memory; () if they are on disk.
        tests: further test sets, by name.
    """

    data: DataSet
    listing: Listing | None
    pool_labels: Tensor
    test_labels: Tensor
    kept: np.ndarray[Any, Any]
    cut: np.ndarray[Any, Any]
    pool_hashes: tuple[bytes, ...]
    test_hashes: tuple[bytes, ...]
    tests: Mapping[str, Further]


def load(spec: DataSpec) -> DataSet:
    """Read the data set of `spec` and split it; labels are the true ones.

    Raises:
        DataError: if the files are not under `root`, or the numbers in `spec` do not fit them.
    """
    data = read_and_split(spec.as_read).data
    _check_sizes(data.image_shape, spec)
    return data


def array_contents(spec: DataSpec) -> dict[str, str]:
    """Return a hash for each array of a set in memory: images and labels of training and test."""
    read = read_and_split(spec.as_read)
    arrays = {
        "train images": b"".join(read.pool_hashes),
        "train labels": read.pool_labels.numpy().tobytes(),
        "test images": b"".join(read.test_hashes),
        "test labels": read.test_labels.numpy().tobytes(),
    }
    shape = f"{read.data.image_shape} {read.data.classes}".encode()
    return {name: hashlib.sha256(shape + array).hexdigest() for name, array in arrays.items()}


def further_contents(spec: DataSpec) -> dict[str, str]:
    """Return a hash for each array of the further test sets that are no folders, such as `test_blur images`."""
    if not any(map(is_callable, spec.tests.values())):
        return {}
    arrays = dict[str, bytes]()
    for name, test in read_and_split(spec.as_read).tests.items():
        if test.folder is None:
            arrays[f"test_{name} images"] = b"".join(pixel_hashes(test.split))
            arrays[f"test_{name} labels"] = test.split.labels.numpy().tobytes()
    return {name: hashlib.sha256(array).hexdigest() for name, array in arrays.items()}


@lru_cache(maxsize=2)
def read_and_split(spec: DataSpec) -> Read:
    """Do the work of `load`; kept for the specs asked for last."""
    # scikit-learn and torchvision take seconds to import: not in processes that are handed the data.
    from dks_study.training.data.sources import read_source
    from dks_study.training.data.splits import stratified

    source = read_source(spec)
    pool, classes = source.pool, source.classes
    _check_classes(pool.labels, source.listing, spec)
    validation_images = round(len(pool) * spec.validation_fraction)
    if validation_images < classes:
        rule = f"must leave an image of each of {classes} classes"
        makes = f"which makes {validation_images} of {len(pool)} training images"
        raise DataError(f"data.validation_fraction: {rule}, got {spec.validation_fraction:g}, {makes}")
    kept, cut = stratified(pool.labels, validation_images, spec.split_seed)
    train = _thin(pool.take(kept), classes, spec)
    numbers = _Statistics(IMAGENET_MEAN, IMAGENET_STD) if isinstance(train, Files) else _statistics(train.images)
    if 0 in numbers.std:
        which = f"{numbers.std.index(0) + 1} of {len(numbers.std)}"
        raise DataError(f"data.{_key(spec)}: must hold images that differ, got one value in all of channel {which}")
    confusions = source.confusions or next_in_group([0] * classes)
    further = read_tests(spec, source)
    tests = {name: each.split for name, each in further.items()}
    data = DataSet(train, pool.take(cut), source.test, classes, numbers.mean, numbers.std, confusions, tests)
    labels, hashes = (pool.labels, source.test.labels), (pixel_hashes(pool), pixel_hashes(source.test))
    return Read(data, source.listing, *labels, kept, cut, *hashes, further)


def _key(spec: DataSpec) -> str:
    return "root" if spec.name in FOLDERS else "name"


def _check_classes(labels: Tensor, listing: Listing | None, spec: DataSpec) -> None:
    """Refuse what cannot be learnt, or not be cut by class: some of each class must stay, and some be validated on."""
    images = torch.bincount(labels)
    key, where = _key(spec), spec.root if spec.name in FOLDERS else spec.name
    if int((images > 0).sum()) < 2:
        raise DataError(f"data.{key}: must have training images of two classes at least, got one class in {where}")
    if alone := (images == 1).nonzero().flatten().tolist():
        name = listing.pool.classes[alone[0]] if listing else alone[0]
        raise DataError(f"data.{key}: must have two training images of a class at least, got one of {name} in {where}")


def pixel_hashes(split: AnySplit) -> tuple[bytes, ...]:
    """Return 16 bytes for each image in memory that depend on its pixels; () for files."""
    if isinstance(split, Files):
        return ()
    return tuple(hashlib.sha256(image).digest()[:HASH_BYTES] for image in split.images.contiguous().numpy())


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
