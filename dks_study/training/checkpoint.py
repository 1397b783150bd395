"""A training state in one file: written whole or not at all, read without running code."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class State:
    """What a run needs to go on after `epoch` (epochs done): random streams are functions of seed and step.

    Attributes:
        trial_hash: of the TrialSpec that was trained.
        epoch: epochs done.
        network: weights and buffers that training goes on from.
        averaged: their averages, with `optimiser.ema_decay`.
        optimiser: momentum and the like.
        scaler: the loss scale of float16; empty otherwise.
        inputs: what the network expects: image_shape [C, H, W], classes, and mean and std per channel of a pixel in
            [0, 1]. An export needs it where the data are not.
    """

    trial_hash: str
    epoch: int
    network: dict[str, Any]
    averaged: dict[str, Any] | None
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    inputs: dict[str, Any]

    @property
    def shipped(self) -> dict[str, Any]:
        """The weights and buffers that val/ and test/ metrics are about, and that ship: averaged ones if kept."""
        return self.network if self.averaged is None else self.averaged

    def save(self, path: Path) -> None:
        """Write to `path`; a crash leaves the file that was there before."""
        content = io.BytesIO()  # torch.save would not say that a disk is full, only that something went wrong
        torch.save(vars(self), content)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        temporary.replace(path)


def load_state(path: Path, trial_hash: str) -> State | None:
    """Return the state at `path`, or None if there is none of this trial that can be read."""
    try:
        state = State(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception:  # whatever a damaged file makes of the unpickler
        return None
    return state if state.trial_hash == trial_hash else None
