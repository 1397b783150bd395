"""A training state in one file: written whole or not at all, read without running code."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class State:
    """What a run needs to go on after `epoch` (epochs done): random streams are functions of seed and step."""

    trial_hash: str
    epoch: int
    network: dict[str, Any]
    optimiser: dict[str, Any]

    @classmethod
    def of(cls, trial_hash: str, epoch: int, network: nn.Module, optimiser: torch.optim.Optimizer) -> "State":
        """Refer to the state of a run; save it before the run goes on."""
        return cls(trial_hash, epoch, network.state_dict(), optimiser.state_dict())

    def save(self, path: Path) -> None:
        """Write to `path`; a crash leaves the file that was there before."""
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save(vars(self), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def load_state(path: Path, trial_hash: str) -> State | None:
    """Return the state at `path`, or None if there is none of this trial that can be read."""
    try:
        state = State(**torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, TypeError, pickle.UnpicklingError):
        return None
    return state if state.trial_hash == trial_hash else None
