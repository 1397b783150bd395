"""Images in folders ROOT/train/CLASS and ROOT/val/CLASS (or ROOT/test/CLASS), classes sorted by name.

That is the layout of ImageNet as torchvision and the published recipes have it; no archive or list is asked for.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dks_study.spec.base import printable
from dks_study.spec.data import DataSpec
from dks_study.training.data.decoding import read_picture
from dks_study.training.data.error import DataError
from dks_study.training.data.files import Decoder, Files, View, without_ends
from dks_study.training.data.listing import list_images
from dks_study.training.data.sets import Source, Split

Samples = Sequence[tuple[str, int]]  # path and label of each image


def read_folders(spec: DataSpec) -> Source:
    """Find the image files under `root`, and decode them if they are to live in memory.

    Raises:
        DataError: if folders or images are missing, cannot be read, or do not fit together.
    """
    listing = list_images(spec)
    pool, test = (list(zip(listing.paths(part), part.labels, strict=True)) for part in (listing.pool, listing.test))
    classes = len(listing.pool.classes)
    if spec.on_disk:
        trained, tested = on_disk([pool, test], spec)
        return Source(trained, tested, classes, listing=listing)
    shape = Shape(spec.side_pixels)
    return Source(decoded(pool, shape), decoded(test, shape), classes, listing=listing)


def on_disk(sets: Sequence[Samples], spec: DataSpec) -> list[Files]:
    """Return sets of files that one decoder decodes on the fly: a path and a label for each image."""
    pixels = spec.side_pixels or 0
    view = View(pixels, spec.evaluation, spec.flip)
    decoder = Decoder([path for samples in sets for path, _ in samples], view, spec.decode_workers)
    ends = np.cumsum([len(samples) for samples in sets])
    positions = np.split(np.arange(ends[-1]), ends[:-1])
    return [Files(decoder, pixels, own, _labels(samples)) for own, samples in zip(positions, sets, strict=True)]


class Shape:
    """Turns pictures into tensors of one size: the one that is asked for, or else that of the first picture."""

    def __init__(self, side: int | None) -> None:
        self._side, self._size = side, (side, side) if side else None

    def __call__(self, picture: Image.Image, path: str) -> Tensor:
        from torchvision.transforms import v2

        if self._side and picture.size != self._size:
            picture = v2.CenterCrop(self._side)(v2.Resize(self._side, antialias=True)(without_ends(picture)))
        self._size = self._size or picture.size
        if picture.size != self._size:
            sizes = " and ".join("{} x {}".format(*size) for size in (self._size, picture.size))
            raise DataError(f"data.image_pixels: must be given, as images differ in size: {sizes} ({printable(path)})")
        return torch.as_tensor(v2.PILToTensor()(picture))


def decoded(samples: Samples, shape: Callable[[Image.Image, str], Tensor]) -> Split:
    """Return a set in memory; `shape` makes a tensor [C, H, W] of each picture and its path."""
    return Split(torch.stack([shape(read_picture(path), path) for path, _ in samples]), _labels(samples))


def _labels(samples: Samples) -> Tensor:
    return torch.tensor([label for _, label in samples], dtype=torch.int64)
