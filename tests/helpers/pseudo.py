"""Reproducible stand-ins for random numbers and weights: see reference/README.md."""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def pseudo(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return float64 values in [0, 1) of this shape that depend on `name` alone."""
    phase = zlib.crc32(name.encode()) % 1000
    angles = np.arange(1, math.prod(shape) + 1, dtype=np.float64) * 12.9898 + phase
    wild = np.sin(angles) * 43758.5453
    return torch.from_numpy((wild - np.floor(wild)).reshape(shape))


def pseudo_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the initial value of the published code's parameter `name`."""
    if len(shape) > 1:
        return (2 * pseudo(name, shape) - 1) * math.sqrt(6 / math.prod(shape[1:]))
    return pseudo(name, shape) if name.endswith(".weight") else torch.zeros(shape, dtype=torch.float64)


def reference(name: str) -> Any:
    """Read one file of reference values."""
    return json.loads((Path(__file__).parents[1] / "reference" / name).read_text())
