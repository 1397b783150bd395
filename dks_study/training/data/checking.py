"""What is known of a data set before anything trains: images by split and class, and pictures that are there twice.

The cheap part, which every study does by itself: pixels are compared where they are in memory anyway, and else the
files, byte for byte. `--check-data` decodes and compares every image (examining.py).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dks_study.spec.base import printable
from dks_study.spec.data import DataSpec
from dks_study.training.data.fingerprint import Contents
from dks_study.training.data.further import Further
from dks_study.training.data.listing import Listing
from dks_study.training.data.loading import Read, pixel_hashes, read_and_split

FEW = 10  # images of a class
SHOWN = 3
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Copies:
    """Pictures that a data set holds more than once.

    Attributes:
        within: by split, how many of its images are copies of an earlier one of it.
        seen: how many validation images are in train, and images of each test set in train or validation.
        contradicted: how many pictures have several labels.
        groups: for each picture its images by name, those that lie in several splits first.
    """

    within: Mapping[str, int]
    seen: Mapping[str, int]
    contradicted: int
    groups: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        """Say it in a sentence."""
        told = [
            f"{split} images that are in {'train' if split == 'validation' else 'train or validation'}, too: {count:,}"
            for split, count in self.seen.items()
            if count
        ]
        told += [f"repeated within {split}: {count:,}" for split, count in self.within.items() if count]
        if not told:
            return "No exact copies."
        labels = f" {self.contradicted:,} of these pictures have several labels." if self.contradicted else ""
        shown = "; ".join(" = ".join(group[:SHOWN]) for group in self.groups[:SHOWN])
        return f"Exact copies: {', '.join(told)} (such as {shown}).{labels}"


@dataclass(frozen=True)
class Found:
    """What was found in a data set.

    Attributes:
        images: by split, the number of images of each class [C]; training images before any are left out.
        class_names: C.
        copies: exact ones.
        aside: sentences about what is there and was not read, or lies elsewhere.
    """

    images: Mapping[str, Sequence[int]]
    class_names: tuple[str, ...]
    copies: Copies
    aside: tuple[str, ...] = ()

    @property
    def near_empty(self) -> tuple[str, ...]:
        """Classes with few images in a split, and how many these are."""
        return tuple(
            f"{name} ({count} in {split})"
            for split in ("train", "test")
            for name, count in zip(self.class_names, self.images[split], strict=True)
            if count < FEW
        )

    def __str__(self) -> str:
        """Say it in a few sentences on one line."""
        counts = ", ".join(f"{sum(counts):,} {split}" for split, counts in self.images.items())
        few = self.near_empty
        sparse = [f"Classes of fewer than {FEW} images: {', '.join(few[:SHOWN])}{_more(few)}."] if few else []
        images = f"{counts} images of {len(self.class_names)} classes."
        return " ".join([images, str(self.copies), *sparse, *self.aside])


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""


def found_in(spec: DataSpec, contents: Contents) -> Found:
    """Look at the data set of `spec`, which holds `contents`.

    Raises:
        DataError: if it cannot be had.
    """
    read = read_and_split(spec.as_read)
    if not (spec.on_disk and read.listing):
        return found(read, hashes_in_memory(read))
    pool, test = ([os.fsencode(contents.get(name, name)) for name in part.files] for part in read.listing.parts)
    further = {
        f"test_{name}": [os.fsencode(contents.get(f"test_{name}/{file}", file)) for file in each.folder.files]
        if each.folder
        else pixel_hashes(each.split)
        for name, each in read.tests.items()
    }
    return found(read, {"pool": pool, "test": test, **further})


def hashes_in_memory(read: Read) -> dict[str, Sequence[bytes]]:
    """Return the hashes of the images by `pool`, `test` and `test_NAME`, by their pixels."""
    further = {f"test_{name}": pixel_hashes(each.split) for name, each in read.tests.items()}
    return {"pool": read.pool_hashes, "test": read.test_hashes, **further}


def found(read: Read, hashes: Mapping[str, Sequence[bytes]]) -> Found:
    """Return what is found by the hashes of the images in `pool`, `test` and each further `test_NAME`."""
    images = {
        "train": read.pool_labels[read.kept],
        "validation": read.pool_labels[read.cut],
        "test": read.test_labels,
        **{f"test_{name}": each.split.labels for name, each in read.tests.items()},
    }
    classes, listing = read.data.classes, read.listing
    counts = {split: labels.bincount(minlength=classes).tolist() for split, labels in images.items()}
    names = listing.pool.classes if listing else [f"class {number}" for number in range(classes)]
    pool = listing.pool.files if listing else [f"training image {number}" for number in range(len(read.pool_labels))]
    test = listing.test.files if listing else [f"test image {number}" for number in range(len(read.test_labels))]
    further = [file for name, each in read.tests.items() for file in _names(name, each)]
    order = [*read.kept.tolist(), *read.cut.tolist()]
    tested = [each for split in hashes if split != "pool" for each in hashes[split]]
    copies = copies_among(
        np.array([*(hashes["pool"][position] for position in order), *tested]),
        np.repeat(np.arange(len(images)), [len(labels) for labels in images.values()]),
        np.concatenate([labels.numpy() for labels in images.values()]),
        [*(pool[position] for position in order), *test, *further],
        tuple(images),
    )
    return Found(counts, tuple(map(printable, names)), copies, _aside(listing) if listing else ())


def _names(name: str, test: Further) -> list[str]:
    if test.folder:
        return [f"test_{name}/{file}" for file in test.folder.files]
    return [f"test_{name} image {number}" for number in range(len(test.split))]


def copies_among(
    hashes: "np.ndarray[tuple[int], np.dtype[np.bytes_]]",
    splits: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    labels: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    names: Sequence[str],
    sets: Sequence[str] = SPLITS,
) -> Copies:
    """Find the images with the same hash; arguments have N elements, `splits` being positions in `sets`."""
    _, picture, times = np.unique(hashes, return_inverse=True, return_counts=True)
    by_split = np.stack([np.bincount(picture[splits == split], minlength=len(times)) for split in range(len(sets))])
    train, validation, *tests = by_split
    seen = {"validation": int(validation[train > 0].sum())}
    known = (train > 0) | (validation > 0)
    seen |= {name: int(test[known].sum()) for name, test in zip(sets[2:], tests, strict=True)}
    within = {split: int((count - 1).clip(min=0).sum()) for split, count in zip(sets, by_split, strict=True)}
    lowest, highest = np.full(len(times), labels.max()), np.zeros(len(times), dtype=labels.dtype)
    np.minimum.at(lowest, picture, labels)
    np.maximum.at(highest, picture, labels)
    repeated = np.flatnonzero(times > 1)
    repeated = repeated[np.argsort(-(by_split[:, repeated] > 0).sum(0), kind="stable")]
    by_picture = np.argsort(picture, kind="stable")
    first = np.cumsum(times) - times
    groups = tuple(
        tuple(printable(names[i]) for i in by_picture[first[p] : first[p] + times[p]]) for p in repeated.tolist()
    )
    return Copies(within, seen, int((lowest < highest).sum()), groups)


def _aside(listing: Listing) -> tuple[str, ...]:
    others = listing.pool.others + listing.test.others
    told = []
    if others:
        told.append(f"Not read: {', '.join(f'{count:,} files ({kind})' for kind, count in others.most_common())}.")
    told += [f"Not read: {name}, as validation is cut from train." for name in listing.unread]
    if links := listing.pool.links + listing.test.links:
        told.append(f"{links:,} files or classes are links.")
    return tuple(told)
