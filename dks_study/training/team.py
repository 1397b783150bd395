"""Processes that train one network together, and what all of them must see alike."""

from dataclasses import dataclass

import torch
from torch import nn


class NonFiniteLossError(ArithmeticError):
    """The training loss became infinite or NaN; the message names epoch and step."""


@dataclass(frozen=True)
class Team:
    """One process among those that train together, as torch.distributed knows it."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def here(cls, device: torch.device) -> "Team":
        """Return the team of this process: itself alone unless a process group was set up."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)
        return cls(0, 1, device)


def check_finite(losses: torch.Tensor, epoch: int) -> None:
    """Look at the losses [steps] of an epoch, at all workers' together: either all of them raise or none.

    Raises:
        NonFiniteLossError: names epoch and step, from 1.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(losses)
    finite = torch.isfinite(losses)
    if not finite.all():
        step = int((~finite).nonzero()[0]) + 1
        raise NonFiniteLossError(f"the training loss is not finite in epoch {epoch}, step {step}")


def share_buffers(network: nn.Module, team: Team) -> None:
    """Give every worker rank 0's batch-norm statistics: what is evaluated is what a checkpoint holds."""
    if team.size > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, src=0)
