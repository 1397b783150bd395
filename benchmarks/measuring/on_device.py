"""Seconds and memory on a GPU, which works on while the host goes ahead; on a CPU as well."""

import gc
from collections.abc import Callable

import torch

from measuring.alternating import seconds_of

MIB = 2**20


def seconds_on(device: torch.device, action: Callable[[], object], calls: int = 1) -> float:
    """Return how long one call of `action` takes, in seconds: the mean of `calls`, until the device has done them."""

    def every() -> None:
        for _ in range(calls):
            action()
        wait_for(device)

    wait_for(device)
    return seconds_of(every) / calls


def wait_for(device: torch.device) -> None:
    """Return once all that was asked of `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    """Give back memory that nobody holds, and let `peak_mib` be that of what comes now."""
    gc.collect()  # a network refers to itself: one that was measured before would count until it is found
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def taken_mib(device: torch.device) -> float:
    """Return what tensors take on a GPU now, in MiB; on a CPU it is not counted."""
    return torch.cuda.memory_allocated(device) / MIB if device.type == "cuda" else 0.0


def peak_mib(device: torch.device, beside: float = 0.0) -> float | None:
    """Return the most memory that tensors have taken on a GPU, in MiB; None: on a CPU it is not counted.

    Args:
        device: which.
        beside: MiB of it that something else has taken all the while.
    """
    return torch.cuda.max_memory_allocated(device) / MIB - beside if device.type == "cuda" else None
