"""Data that a user might bring, which count how often they are read."""

import os
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def digits(root):
    with (Path(root) / "reads").open("a") as file:
        file.write(f"{os.getpid()}\n")
    bunch = load_digits()
    images = (bunch.images[..., None] * 15).astype(np.uint8)
    return {
        "train_images": images[:1200],
        "train_labels": bunch.target[:1200],
        "test_images": images[1200:],
        "test_labels": bunch.target[1200:],
    }
