"""Which images belong to which part: pure functions from labels int64 [N] and a split seed to sorted positions."""

from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from dks_study.method.streams import generator
from dks_study.training.data.error import DataError

Positions = np.ndarray[Any, Any]


def stratified(labels: Tensor, held_out: int, seed: int) -> tuple[Positions, Positions]:
    """Cut `held_out` images off, the classes in their shares: (kept, cut)."""
    kept, cut = train_test_split(np.arange(len(labels)), test_size=held_out, random_state=seed, stratify=labels.numpy())
    return np.sort(kept), np.sort(cut)


def long_tail(labels: Tensor, classes: int, imbalance: float, seed: int) -> Positions:
    """Keep ever fewer images of ever later classes, falling exponentially from class 0 by `imbalance` in all.

    As many are kept as the rule allows: with equal classes, all of class 0. A larger imbalance keeps a subset of what
    a smaller one keeps.

    Raises:
        DataError: if no image of some class would be left.
    """
    have = torch.bincount(labels, minlength=classes).double()
    decay = imbalance ** -(torch.arange(classes).double() / max(1, classes - 1))
    wanted = (decay * (have / decay).min() + 1e-9).long()  # 1e-9: 5000 * 0.01 must not become 49
    if wanted.min() < 1:
        raise DataError(f"data.imbalance: must leave an image of each of {classes} classes, got {imbalance:g}")
    return _draw(labels, wanted, generator(seed, "imbalance"))


def subset(labels: Tensor, classes: int, count: int, seed: int) -> Positions:
    """Keep `count` images, the classes in their shares (rounded by largest remainder).

    Raises:
        DataError: if there are fewer, or no image of some class would be left.
    """
    if count > len(labels):
        raise DataError(f"data.train_images: must be at most the {len(labels)} training images, got {count}")
    exact = torch.bincount(labels, minlength=classes).double() * count / len(labels)
    wanted = exact.floor().long()
    missing = count - int(wanted.sum())
    wanted[(wanted - exact).argsort(stable=True)[:missing]] += 1
    if wanted.min() < 1:
        raise DataError(f"data.train_images: must leave an image of each of {classes} classes, got {count}")
    return _draw(labels, wanted, generator(seed, "train_images"))


def _draw(labels: Tensor, wanted: Tensor, draws: torch.Generator) -> Positions:
    """Positions of `wanted` [C] images of each class: the first of each in one random order of all."""
    order = torch.randperm(len(labels), generator=draws)
    by_class = order[labels[order].argsort(stable=True)]
    of = labels[by_class]
    have = torch.bincount(labels, minlength=len(wanted))
    rank_in_class = torch.arange(len(labels)) - (have.cumsum(0) - have)[of]
    return by_class[rank_in_class < wanted[of]].sort().values.numpy()
