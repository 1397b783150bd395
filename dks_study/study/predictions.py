"""What a confirmation said of every test image after its last epoch: predictions.npz in the folder of the trial.

An uncompressed NumPy archive of three arrays, for K classifiers, N test images and C classes:

    classifiers   text [K]: names, shallow to deep, `main` last
    logits        float32 [K, N, C]: as they were, so that the accuracy that they come to is that of the trial's metrics
    labels        int32 [N]: the true ones

Image i is the i-th of the test set: of a folder, classes and in them files by name (the order of data.json.gz). It
needs NumPy alone, and is written in one go: a crash leaves it whole or not there.
"""

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILE = "predictions.npz"
Logits = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Labels = np.ndarray[tuple[int], np.dtype[np.int32]]


@dataclass(frozen=True)
class Predictions:
    """Of one trial, for N test images and C classes.

    Attributes:
        logits: float32 [N, C] by classifier, shallow to deep, `main` last.
        labels: int32 [N], the true ones.
    """

    logits: Mapping[str, Logits]
    labels: Labels


def write_predictions(folder: Path, names: Sequence[str], logits: Logits, labels: Labels) -> None:
    """Write the predictions of the trial in `folder`: logits [K, N, C] of the classifiers `names`, labels [N].

    Raises:
        OSError: if there is no room.
    """
    temporary = folder / "predictions.tmp"
    with temporary.open("wb") as file:
        arrays: dict[str, Any] = {"classifiers": np.array(names), "logits": logits.astype(np.float32, copy=False)}
        np.savez(file, **arrays, labels=labels.astype(np.int32))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / FILE)


def read_predictions(folder: Path) -> Predictions | None:
    """Return the predictions of the trial in `folder`; None: it has none, or they are damaged."""
    try:
        with (folder / FILE).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            names, logits, labels = file["classifiers"], file["logits"], file["labels"]
            if logits.shape[:2] != (len(names), len(labels)):
                return None
            return Predictions(dict(zip(names.tolist(), logits, strict=True)), labels)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def predictions_in(folder: Path) -> Callable[[str], Predictions | None]:
    """Return what reads the predictions of a trial, by its name, from the folder of a study: each time anew."""
    return lambda trial: read_predictions(folder / "trials" / trial)
