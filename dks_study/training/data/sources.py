"""Where images come from: one loader for each name; anything else is somebody's own function."""

import os
import pickle
from collections.abc import Callable, Collection
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch

from dks_study.spec.base import in_one_line
from dks_study.spec.data import DIGITS_TEST, DataSpec
from dks_study.training.data.custom import read_callable
from dks_study.training.data.error import DataError
from dks_study.training.data.folders import read_folders
from dks_study.training.data.noise import CIFAR10_CONFUSIONS, next_in_group
from dks_study.training.data.sets import Source, Split
from dks_study.training.data.splits import stratified

CIFAR100_TRAIN = Path("cifar-100-python", "train")


def read_source(spec: DataSpec) -> Source:
    """Read all images that are not test images, and the test images.

    Raises:
        DataError: if they are not there or not what they should be.
    """
    return LOADERS.get(spec.name, read_callable)(spec)


def _digits(spec: DataSpec) -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images * 15).astype(np.uint8)  # grey levels 0 to 16 become 0 to 240
    whole = Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(bunch.target).long())
    rest, held_out = stratified(whole.labels, DIGITS_TEST, spec.split_seed)
    return Source(whole.take(rest), whole.take(held_out), 10)


def _cifar10(spec: DataSpec) -> Source:
    pool, classes = _torchvision("CIFAR10", spec, train=True)
    test, _ = _torchvision("CIFAR10", spec, train=False)
    return Source(pool, test, classes, CIFAR10_CONFUSIONS)


def _cifar100(spec: DataSpec) -> Source:
    pool, classes = _torchvision("CIFAR100", spec, train=True)
    test, _ = _torchvision("CIFAR100", spec, train=False)
    confusions = _cifar100_confusions(spec) if spec.label_noise_kind == "asymmetric" else ()
    return Source(pool, test, classes, confusions)


def _fashion_mnist(spec: DataSpec) -> Source:
    pool, classes = _torchvision("FashionMNIST", spec, train=True)
    test, _ = _torchvision("FashionMNIST", spec, train=False)
    return Source(pool, test, classes)


def _svhn(spec: DataSpec) -> Source:
    pool, _ = _torchvision("SVHN", spec, split="train")
    test, _ = _torchvision("SVHN", spec, split="test")
    return Source(pool, test, 10)


def _stl10(spec: DataSpec) -> Source:
    pool, classes = _torchvision("STL10", spec, split="train")
    test, _ = _torchvision("STL10", spec, split="test")
    return Source(pool, test, classes)


LOADERS: dict[str, Callable[[DataSpec], Source]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "fashion_mnist": _fashion_mnist,
    "svhn": _svhn,
    "stl10": _stl10,
    "imagenet": read_folders,
    "image_folder": read_folders,
}


def _torchvision(kind: str, spec: DataSpec, **part: str | bool) -> tuple[Split, int]:
    from torchvision import datasets  # takes a second

    root = Path(spec.root or "")
    there = {each for each in (root, *root.parents, *root.glob("*")) if each.exists()}
    try:
        source = getattr(datasets, kind)(root=spec.root, download=spec.download, **part)
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError, HTTPException) as error:
        _remove_empty_folders(root, there)
        if spec.download:
            hint = f"fetch those of {spec.name} where there is a network, and give their folder as data.root"
            rule = f"must be false where files cannot be fetched: {hint}"
            raise DataError(f"data.download: {rule}; got true ({in_one_line(error)})") from error
        hint = "give the folder that holds the files, or set data.download: true"
        raise DataError(f"data.root: {hint}; {spec.name} is not in {spec.root!r}") from error
    images = torch.as_tensor(source.data)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif images.shape[-1] == 3:  # SVHN and STL-10 come with their channels first
        images = images.permute(0, 3, 1, 2)
    labels = source.targets if hasattr(source, "targets") else source.labels
    classes = len(source.classes) if hasattr(source, "classes") else 0
    return Split(images.contiguous(), torch.as_tensor(labels, dtype=torch.int64)), classes


def _remove_empty_folders(root: Path, there: Collection[Path]) -> None:
    """Remove what torchvision has made in vain: `there` is what there was of `root`, above it and right in it."""
    new = [each for each in root.glob("*") if each not in there]
    inside = [Path(folder) for each in new for folder, _, _ in os.walk(each, topdown=False)]
    for folder in (*inside, root, *root.parents):
        if folder not in there:
            with suppress(OSError):  # something is in it
                folder.rmdir()


def _cifar100_confusions(spec: DataSpec) -> tuple[int, ...]:
    """The next class of the same superclass; torchvision reads these labels of the files (and checked them) no more."""
    content = pickle.loads((Path(spec.root or "") / CIFAR100_TRAIN).read_bytes(), encoding="latin1")
    groups = dict(zip(content["fine_labels"], content.get("coarse_labels", ()), strict=False))
    if not groups:
        raise DataError("data.label_noise_kind: must be symmetric, as the files lack coarse_labels, got asymmetric")
    return next_in_group([groups[label] for label in sorted(groups)])
