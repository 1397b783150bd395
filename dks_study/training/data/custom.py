"""Anybody's own data: `package.module:callable` returns the images and labels as arrays.

Every process must be able to import the module: install it, or put its folder on PYTHONPATH. The function is called
without arguments, or with `root` if that is set, and returns a mapping:

    train_images, test_images   uint8 [N, C, H, W] or [N, H, W, C], C being 1 or 3
    train_labels, test_labels   integers [N] from 0
    classes                     the number of classes; if left out, the largest label and 1

and nothing else: validation images are cut from those of training. A function that gives a further test set
(data.tests) returns test_images and test_labels; it is called without arguments.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dks_study.spec.base import in_one_line
from dks_study.spec.data import DataSpec
from dks_study.training.data.error import DataError
from dks_study.training.data.sets import Source, Split

RETURNED = ("train_images", "train_labels", "test_images", "test_labels", "classes")


def read_callable(spec: DataSpec) -> Source:
    """Call the function that `spec.name` names and check what it returns.

    Raises:
        DataError: if there is no such function, it fails, or its arrays are not as described above.
    """
    content = _called("data.name", spec.name, *([] if spec.root is None else [spec.root]))
    if unknown := [str(key) for key in content if key not in RETURNED]:
        raise DataError(f"data.name: {spec.name} must return {', '.join(RETURNED)} alone, got {', '.join(unknown)}")
    pool, test = (_split(f"data.name: {spec.name}", content, part) for part in ("train", "test"))
    if pool.image_shape != test.image_shape:
        shapes = f"{pool.image_shape} and {test.image_shape}"
        raise DataError(f"data.name: {spec.name} must return train and test images of one shape, got {shapes}")
    for part, split in (("train", pool), ("test", test)):
        if (label := int(split.labels.max())) >= len(pool):  # else what is counted by class would fill the memory
            rule = f"{part}_labels must be below the {len(pool)} training images"
            raise DataError(f"data.name: {spec.name}: {rule}, got {label}")
    if unseen := sorted(set(test.labels.tolist()) - set(pool.labels.tolist())):
        rule = "test_labels must be of classes that have training images"
        raise DataError(f"data.name: {spec.name}: {rule}, got {unseen[0]}")
    largest = int(max(pool.labels.max(), test.labels.max()))
    classes = content.get("classes", largest + 1)
    if not isinstance(classes, int | np.integer) or not max(1, largest) < classes <= len(pool):
        rule = f"classes must be above label {max(1, largest)} and at most the {len(pool)} training images"
        raise DataError(f"data.name: {spec.name}: {rule}, got {classes!r}")
    return Source(pool, test, int(classes))


def read_further(key: str, function: str) -> Split:
    """Call the function that gives the further test set `key`, such as data.tests.blur.

    Raises:
        DataError: as `read_callable`.
    """
    return _split(f"{key}: {function}", _called(key, function), "test")


def _called(key: str, function: str, *arguments: str) -> Mapping[str, Any]:
    module, _, name = function.partition(":")
    try:
        content = getattr(importlib.import_module(module), name)(*arguments)
        if isinstance(content, Mapping):
            return dict(content)  # a mapping may be somebody's code, too
    except (Exception, SystemExit) as error:  # whatever somebody's code may raise
        raise DataError(f"{key}: {function} cannot be called ({in_one_line(error)})") from error
    raise DataError(f"{key}: {function} must return a mapping, got {type(content).__name__}")


def _split(where: str, content: Mapping[str, Any], part: str) -> Split:
    images = _array(where, content, f"{part}_images")
    labels = _array(where, content, f"{part}_labels")
    if images.dtype != np.uint8 or images.ndim != 4 or not {images.shape[1], images.shape[3]} & {1, 3}:
        rule = "must be uint8 [N, C, H, W] or [N, H, W, C] with 1 or 3 channels"
        raise DataError(f"{where}: {part}_images {rule}, got {images.dtype} {list(images.shape)}")
    if not images.size:
        raise DataError(f"{where}: {part}_images must hold an image, and images a pixel, got {list(images.shape)}")
    rule = f"must be {len(images)} integers from 0, one for each image"
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DataError(f"{where}: {part}_labels {rule}, got {labels.dtype} {list(labels.shape)}")
    numbers = labels.astype(np.int64)
    if (odd := labels[numbers < 0]).size:  # or above what int64 holds
        raise DataError(f"{where}: {part}_labels {rule}, got {odd[0]}")
    if images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    return Split(torch.from_numpy(images.copy()), torch.from_numpy(numbers))


def _array(where: str, content: Mapping[str, Any], key: str) -> np.ndarray[Any, Any]:
    if key not in content:
        raise DataError(f"{where} must return {key}, got {', '.join(map(str, content)) or 'nothing'}")
    if np.ma.is_masked(content[key]):
        rule, count = "must have no masked values", np.ma.getmaskarray(content[key]).sum()
        raise DataError(f"{where}: {key} {rule}, got {count} of them")
    try:
        return np.asarray(content[key])
    except Exception as error:  # whatever somebody's objects may raise
        got = f"{type(content[key]).__name__} ({in_one_line(error)})"
        raise DataError(f"{where}: {key} must be one array, of pictures of one size, got {got}") from error
