"""Anybody's own data: `package.module:callable` returns the images and labels as arrays.

Every process must be able to import the module: install it, or put its folder on PYTHONPATH. The function is called
without arguments, or with `root` if that is set, and returns a mapping:

    train_images, test_images   uint8 [N, C, H, W] or [N, H, W, C], C being 1 or 3
    train_labels, test_labels   integers [N] from 0
    classes                     the number of classes; if left out, the largest label and 1
"""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dks_study.spec.data import DataSpec
from dks_study.training.data.error import DataError
from dks_study.training.data.sets import Source, Split


def read_callable(spec: DataSpec) -> Source:
    """Call the function that `spec.name` names and check what it returns.

    Raises:
        DataError: if there is no such function, it fails, or its arrays are not as described above.
    """
    module, _, name = spec.name.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        content = found(spec.root) if spec.root is not None else found()
    except Exception as error:  # whatever somebody's code may raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"data.name: {spec.name} cannot be called ({reason})") from error
    if not isinstance(content, Mapping):
        raise DataError(f"data.name: {spec.name} must return a mapping, got {type(content).__name__}")
    pool, test = (_split(spec.name, content, part) for part in ("train", "test"))
    if pool.image_shape != test.image_shape:
        shapes = f"{pool.image_shape} and {test.image_shape}"
        raise DataError(f"data.name: {spec.name} must return train and test images of one shape, got {shapes}")
    largest = int(max(pool.labels.max(), test.labels.max()))
    classes = content.get("classes", largest + 1)
    if not isinstance(classes, int | np.integer) or classes <= max(1, largest):
        raise DataError(f"data.name: {spec.name}: classes must be above label {max(1, largest)}, got {classes!r}")
    return Source(pool, test, int(classes))


def _split(name: str, content: Mapping[str, Any], part: str) -> Split:
    images = _array(name, content, f"{part}_images")
    labels = _array(name, content, f"{part}_labels")
    if images.dtype != np.uint8 or images.ndim != 4 or not {images.shape[1], images.shape[3]} & {1, 3}:
        rule = "must be uint8 [N, C, H, W] or [N, H, W, C] with 1 or 3 channels"
        raise DataError(f"data.name: {name}: {part}_images {rule}, got {images.dtype} {list(images.shape)}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or not labels.size or labels.min() < 0:
        rule = f"must be {len(images)} integers from 0, one for each image"
        raise DataError(f"data.name: {name}: {part}_labels {rule}, got {labels.dtype} {list(labels.shape)}")
    if images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    return Split(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))


def _array(name: str, content: Mapping[str, Any], key: str) -> np.ndarray[Any, Any]:
    if key not in content:
        raise DataError(f"data.name: {name} must return {key}, got {', '.join(map(str, content)) or 'nothing'}")
    return np.asarray(content[key])
