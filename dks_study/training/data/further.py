"""Further test sets (data.tests): a folder with the folders of the classes, or somebody's own function.

They have the classes of the training images, and images of their shape. In a folder classes are those of the training
folder by name. For a set whose classes have numbers alone there is a folder for each, which in the order of their names
are those of the labels; pictures become grey where the training images are.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dks_study.spec.base import printable
from dks_study.spec.data import DataSpec, is_callable
from dks_study.training.data.custom import read_further
from dks_study.training.data.error import DataError, told_of
from dks_study.training.data.folders import Samples, Shape, decoded, on_disk
from dks_study.training.data.listing import Part, list_folder
from dks_study.training.data.sets import AnySplit, Source


@dataclass(frozen=True)
class Folder:
    """The folder of a further test set: where it is, and its image files, such as cat/001.png, with their labels."""

    path: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def samples(self) -> Samples:
        """Path and label of each image."""
        return [(os.path.join(self.path, file), label) for file, label in zip(self.files, self.labels, strict=True)]


@dataclass(frozen=True)
class Further:
    """A further test set; `folder` if it is one."""

    split: AnySplit
    folder: Folder | None = None


def folders_of(spec: DataSpec) -> dict[str, Folder]:
    """Return the further test sets that are folders, by name.

    Raises:
        DataError: if they are not there, or hold what may not be there.
    """
    places = {name: place for name, place in spec.tests.items() if not is_callable(place)}
    return {name: _folder(*list_folder(place, key_of(name))) for name, place in places.items()}


def read_tests(spec: DataSpec, source: Source) -> dict[str, Further]:
    """Read the further test sets of `spec`, which stand beside `source`.

    Raises:
        DataError: names the set that is not there, or is of other classes, sizes or channels.
    """
    folders = folders_of(spec)
    for name, folder in folders.items():
        _refuse_other_classes(name, folder, source)
    splits: dict[str, AnySplit] = {}
    if spec.on_disk and folders:  # one decoder for all of them
        files = on_disk([folder.samples for folder in folders.values()], spec)
        splits |= dict(zip(folders, files, strict=True))
    else:
        for name, folder in folders.items():
            with told_of(key_of(name)):
                splits[name] = decoded(folder.samples, _shape(name, spec, source))
    splits |= {name: read_further(key_of(name), place) for name, place in spec.tests.items() if is_callable(place)}
    for name, split in splits.items():
        _refuse_others(name, split, source)
    return {name: Further(splits[name], folders.get(name)) for name in spec.tests}


def key_of(name: str) -> str:
    """Return the key of a further test set."""
    return f"data.tests.{name}"


def _folder(root: Path, part: Part) -> Folder:
    files = tuple(file.removeprefix(f"{part.name}/") for file in part.files)
    return Folder(root / part.name, part.classes, files, tuple(part.labels))


def _refuse_other_classes(name: str, folder: Folder, source: Source) -> None:
    if source.listing is None:
        if len(folder.classes) != source.classes:
            rule = f"must hold a folder for each of the {source.classes} classes, by name in the order of their labels"
            raise DataError(f"{key_of(name)}: {rule}, got {len(folder.classes)}")
    elif odd := sorted(set(folder.classes) ^ set(source.listing.pool.classes)):
        raise DataError(
            printable(f"{key_of(name)}: must have the classes of the training images, got {odd[0]!r} in one")
        )


def _refuse_others(name: str, split: AnySplit, source: Source) -> None:
    if split.image_shape != source.pool.image_shape:
        rule = f"must hold images of {source.pool.image_shape} (channels, height, width), as the training images are"
        raise DataError(f"{key_of(name)}: {rule}, got {split.image_shape}")
    if (largest := int(split.labels.max())) >= source.classes:
        raise DataError(f"{key_of(name)}: must have labels below {source.classes}, as in training, got {largest}")


def _shape(name: str, spec: DataSpec, source: Source) -> Callable[[Image.Image, str], Tensor]:
    """Return what makes a tensor of a picture: as training images are made, or of their size and colour as it is."""
    if spec.side_pixels:
        return Shape(spec.side_pixels)
    channels, height, width = source.pool.image_shape

    def as_it_is(picture: Image.Image, path: str) -> Tensor:
        from torchvision.transforms import v2  # takes a second

        if picture.size != (width, height):
            rule = f"must hold images of {width} x {height}, as the training images are"
            got = "{} x {}".format(*picture.size)
            raise DataError(f"{key_of(name)}: {rule}, got {got} ({printable(path)})")
        return torch.as_tensor(v2.PILToTensor()(picture.convert("L") if channels == 1 else picture))

    return as_it_is
