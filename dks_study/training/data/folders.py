"""Images in folders ROOT/train/CLASS and ROOT/val/CLASS (or ROOT/test/CLASS), classes sorted by name.

That is the layout of ImageNet as torchvision and the published recipes have it; no archive or list is asked for.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dks_study.spec.data import DataSpec
from dks_study.training.data.decoding import read_picture
from dks_study.training.data.error import DataError, printable
from dks_study.training.data.files import Decoder, Files, View
from dks_study.training.data.listing import list_images
from dks_study.training.data.sets import Source, Split


def read_folders(spec: DataSpec) -> Source:
    """Find the image files under `root`, and decode them if they are to live in memory.

    Raises:
        DataError: if folders or images are missing, cannot be read, or do not fit together.
    """
    listing = list_images(spec)
    pool, test = (list(zip(listing.paths(part), part.labels, strict=True)) for part in (listing.pool, listing.test))
    classes = len(listing.pool.classes)
    if spec.on_disk:
        return Source(*_on_disk(pool, test, spec), classes, listing=listing)
    shape = _Shape(spec.side_pixels)
    return Source(_decoded(pool, shape), _decoded(test, shape), classes, listing=listing)


def _on_disk(pool: list[tuple[str, int]], test: list[tuple[str, int]], spec: DataSpec) -> tuple[Files, Files]:
    pixels = spec.side_pixels or 0
    view = View(pixels, spec.evaluation, spec.flip)
    decoder = Decoder([path for path, _ in [*pool, *test]], view, spec.decode_workers)
    positions = np.arange(len(pool) + len(test))
    trained, opened = positions[: len(pool)], positions[len(pool) :]
    return Files(decoder, pixels, trained, _labels(pool)), Files(decoder, pixels, opened, _labels(test))


class _Shape:
    """Turns pictures into tensors of one size: the one that is asked for, or else that of the first picture."""

    def __init__(self, side: int | None) -> None:
        self._side, self._size = side, (side, side) if side else None

    def __call__(self, picture: Image.Image, path: str) -> Tensor:
        from torchvision.transforms import v2

        if self._side and picture.size != self._size:
            picture = v2.CenterCrop(self._side)(v2.Resize(self._side, antialias=True)(picture))
        self._size = self._size or picture.size
        if picture.size != self._size:
            sizes = " and ".join("{} x {}".format(*size) for size in (self._size, picture.size))
            raise DataError(f"data.image_pixels: must be given, as images differ in size: {sizes} ({printable(path)})")
        return torch.as_tensor(v2.PILToTensor()(picture))


def _decoded(samples: list[tuple[str, int]], shape: _Shape) -> Split:
    return Split(torch.stack([shape(read_picture(path), path) for path, _ in samples]), _labels(samples))


def _labels(samples: list[tuple[str, int]]) -> Tensor:
    return torch.tensor([label for _, label in samples], dtype=torch.int64)
