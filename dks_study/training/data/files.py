"""Image files that are decoded on the fly, by worker processes or by the training process itself.

What an image becomes in training is a function of (seed, epoch, image), so it does not matter which process decodes
it, nor how many there are. Images leave here as uint8 [B, 3, P, P]; the batch does the rest on the device.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import get_context, parent_process
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dks_study.method.streams import seeded
from dks_study.training.data.decoding import read_picture

CROP_AREAS = (0.08, 1.0)  # of the image, as published ImageNet recipes have it
RESIZED_PER_CROP = 256 / 224
LONGEST = 16  # times the shorter side, of what is resized by it: a centre crop needs no more, memory goes with all

Transform = Callable[[Image.Image], Tensor]


def without_ends(picture: Image.Image) -> Image.Image:
    """Return the middle of a picture that is longer than LONGEST times its shorter side; others as they are."""
    width, height = picture.size
    most = LONGEST * min(width, height)
    left, top = max(width - most, 0) // 2, max(height - most, 0) // 2
    return picture.crop((left, top, width - left, height - top)) if left or top else picture


class Key(NamedTuple):
    """Which image, and as what: with epoch 0 as when evaluating, else as in that epoch of the run with that seed."""

    image: int
    epoch: int = 0
    seed: int = 0


@dataclass(frozen=True)
class View:
    """How a file becomes an image; the words are those of DataSpec."""

    pixels: int
    evaluation: str
    flip: bool

    def training(self) -> Transform:
        """Return a random part of the image, resized, mirrored or not."""
        from torchvision.transforms import v2  # takes a second: not in processes that decode nothing

        crop = v2.RandomResizedCrop(self.pixels, scale=CROP_AREAS, antialias=True)
        training: Transform = v2.Compose([crop, v2.RandomHorizontalFlip(0.5 if self.flip else 0.0), v2.PILToTensor()])
        return training

    def evaluating(self) -> Transform:
        """Return the image, resized, without its border."""
        from torchvision.transforms import InterpolationMode, v2

        side = round(self.pixels * RESIZED_PER_CROP)
        resize = {
            "torchvision": [without_ends, v2.Resize(side, InterpolationMode.BILINEAR, antialias=True)],
            "squash": [v2.Resize((side, side), InterpolationMode.BICUBIC, antialias=True)],
        }[self.evaluation]
        evaluating: Transform = v2.Compose([*resize, v2.CenterCrop(self.pixels), v2.PILToTensor()])
        return evaluating


class _Pictures(Dataset[Tensor]):
    """What a worker process holds: all paths (as bytes in one array: a list would be copied page by page)."""

    def __init__(self, paths: np.ndarray[Any, Any], view: View) -> None:
        self._paths, self._training, self._evaluating = paths, view.training(), view.evaluating()

    def __getitem__(self, key: Key) -> Tensor:
        picture = read_picture(os.fsdecode(bytes(self._paths[key.image])))
        if not key.epoch:
            return torch.as_tensor(self._evaluating(picture))
        with seeded(key.seed, "decode", key.epoch, key.image):
            return torch.as_tensor(self._training(picture))


class _Plan:
    """The batches that are to be decoded next; a DataLoader's workers outlive it."""

    def __init__(self) -> None:
        self.batches: Iterable[list[Key]] = ()

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)


def _end_with_the_training_process(worker: int) -> None:
    """Let a decoding process not outlive a training process that is killed: its own parent is the fork server."""
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Decoder:
    """Decodes the files at `paths` in `workers` processes, which start with the first batch and stay."""

    def __init__(self, paths: list[str], view: View, workers: int) -> None:
        """Start nothing yet."""
        self._pictures = _Pictures(np.array([os.fsencode(path) for path in paths]), view)
        self._workers, self._plan = workers, _Plan()
        self._loader: DataLoader[Tensor] | None = None

    def batches(self, batches: Iterable[list[Key]], device: torch.device) -> Iterator[Tensor]:
        """Yield uint8 [b, 3, P, P] on `device` for each list of b keys; only one such iterator is used at a time."""
        if self._loader is None:
            self._loader = self._start(device)
        self._plan.batches = batches
        for images in self._loader:
            yield images.to(device, non_blocking=True)

    def _start(self, device: torch.device) -> "DataLoader[Tensor]":
        parallel: dict[str, Any] = {}
        if self._workers:
            # Not fork: a process that trains has threads (torch, CUDA, Ray), and their locks would be copied as held.
            context = get_context("forkserver")
            context.set_forkserver_preload([__name__])  # imported once, not by every worker
            parallel = {
                "multiprocessing_context": context,
                "persistent_workers": True,
                "worker_init_fn": _end_with_the_training_process,
            }
        return DataLoader(
            self._pictures,
            batch_sampler=self._plan,
            num_workers=self._workers,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else it draws from the global stream
            **parallel,
        )


@dataclass(frozen=True)
class Files:
    """Images on disk: `positions` [N] among the decoder's files, with labels int64 [N]."""

    decoder: Decoder = field(repr=False)
    pixels: int
    positions: np.ndarray[Any, Any]
    labels: Tensor

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return 3, self.pixels, self.pixels

    def take(self, indices: Any) -> "Files":  # noqa: ANN401 - numpy or torch indices, or a slice
        """Return the images at `indices`, in that order."""
        return replace(self, positions=self.positions[indices], labels=self.labels[indices])

    def with_labels(self, labels: Tensor) -> "Files":
        """Return the same images with other labels."""
        return replace(self, labels=labels)

    def to(self, device: torch.device) -> "Files":
        """Return the split with its labels on `device`, where its images will be, too."""
        return replace(self, labels=self.labels.to(device))

    def decode(self, batches: Iterable[Tensor], epoch: int = 0, seed: int = 0) -> Iterator[Tensor]:
        """Yield uint8 [b, 3, P, P] on the labels' device for each int64 [b] of `batches`: positions in this split.

        Epoch 0 gives them as they are evaluated, any other as they are trained on.
        """
        keys = ([Key(int(self.positions[i]), epoch, seed) for i in batch.tolist()] for batch in batches)
        return self.decoder.batches(keys, self.labels.device)
