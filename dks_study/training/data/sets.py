"""What a data set is: three splits, in memory or on disk, and what it takes to normalise and to confuse them."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dks_study.training.data.files import Files
from dks_study.training.data.listing import Listing


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, C, H, W] in memory with labels int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled as arrays: an object store then hands them out without a copy, as memory nobody may write to."""
        return _from_arrays, (self.images.numpy(), self.labels.numpy())

    def take(self, indices: Any) -> "Split":  # noqa: ANN401 - numpy or torch indices
        """Return the images at `indices`, in that order."""
        return Split(self.images[indices], self.labels[indices])

    def with_labels(self, labels: Tensor) -> "Split":
        """Return the same images with other labels."""
        return Split(self.images, labels)

    def to(self, device: torch.device) -> "Split":
        """Return the split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


def _from_arrays(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Split:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return Split(torch.from_numpy(images), torch.from_numpy(labels))


AnySplit = Split | Files


@dataclass(frozen=True)
class DataSet:
    """The three splits; mean and std per channel of the training images, in units of a pixel's range 0 to 1.

    Attributes:
        train: what is trained on, with its true labels.
        validation: cut from the training images.
        test: opened once, by confirmation.
        classes: C; labels are 0 to C - 1.
        mean: per channel.
        std: per channel.
        confusions: C classes: what asymmetric label noise takes an image of class i for; i itself for never.
        tests: further test sets by name, opened once with the first.
    """

    train: AnySplit
    validation: AnySplit
    test: AnySplit
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    confusions: tuple[int, ...] = ()
    tests: Mapping[str, AnySplit] = field(default_factory=dict)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.train.image_shape

    @property
    def inputs(self) -> dict[str, Any]:
        """What a network for these data expects, as plain values."""
        shape = {"image_shape": list(self.image_shape), "classes": self.classes}
        return {**shape, "mean": list(self.mean), "std": list(self.std)}

    def normalise(self, images: Tensor) -> Tensor:
        """Turn [B, C, H, W] of 0 to 255 into float32 of mean 0 and variance 1 per channel of the training images."""
        return (images / 255).sub_(_per_channel(self.mean, images.device)).div_(_per_channel(self.std, images.device))


@lru_cache(maxsize=8)
def _per_channel(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers by channel, to be combined with images; copied to the device once."""
    with torch.inference_mode(False):  # an inference tensor would be of no use in training
        return torch.tensor(numbers).view(1, -1, 1, 1).to(device)


@dataclass(frozen=True)
class Source:
    """A data set before validation is cut from `pool`.

    Attributes:
        pool: what training and validation are taken from.
        test: the test images.
        classes: C; labels are 0 to C - 1.
        confusions: C classes: what an image of class i is mistaken for; () for the next class.
        listing: of the files, where there is one for each image.
    """

    pool: AnySplit
    test: AnySplit
    classes: int
    confusions: tuple[int, ...] = ()
    listing: Listing | None = None
