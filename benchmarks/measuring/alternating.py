"""Two or more sides of a comparison, measured in one process and in turn, so that a busy machine slows all of them."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

import psutil
import torch


def seconds_of(action: Callable[[], object], calls: int = 1, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long one call of `action` takes, in seconds: the mean of `calls` in a row.

    Args:
        action: what is measured.
        calls: how often it is called.
        clock: time.process_time counts only what this process computes, so that others on a busy machine do not
            show; it is right where one thread computes and nothing is waited for.
    """
    started = clock()
    for _ in range(calls):
        action()
    return (clock() - started) / calls


def alternate(sides: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Measure every side once in each round; every other round goes through them backwards.

    Args:
        sides: by name, what does one measurement and returns it, in seconds.
        rounds: how many measurements of each are kept.
        warm_up: rounds before these, which are not.
    """
    kept: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warm_up + rounds):
        for name in list(sides) if number % 2 else reversed(list(sides)):
            seconds = sides[name]()
            if number >= warm_up:
                kept[name].append(seconds)
    return kept


def ratios(seconds: Mapping[str, Sequence[float]], side: str, against: str) -> list[float]:
    """Return side / against, round by round."""
    return [one / other for one, other in zip(seconds[side], seconds[against], strict=True)]


def show(seconds: Mapping[str, Sequence[float]], side: str, against: str, target: float, unit_s: float = 1e-3) -> None:
    """Print the median of each side with its range, and the median ratio of two of them beside the target.

    Args:
        seconds: by side, its measurements.
        side: what is claimed to be fast.
        against: what it is compared with.
        target: what the ratio should not exceed.
        unit_s: 1e-3 shows milliseconds, 1 seconds.
    """
    unit = {1e-3: "ms", 1: "s"}[unit_s]
    for name, values in seconds.items():
        low, middle, high = (f(values) / unit_s for f in (min, statistics.median, max))
        print(f"{name}: median {middle:.3f} {unit} ({low:.3f} to {high:.3f}, n {len(values)})")
    each = ratios(seconds, side, against)
    print(f"{side} / {against}: median {statistics.median(each):.3f} ({min(each):.3f} to {max(each):.3f}); "
          f"target at most {target}")  # fmt: skip


def machine() -> str:
    """Return one line about where this is measured."""
    memory = psutil.virtual_memory().total / 2**30
    cores, load = psutil.cpu_count(logical=False) or psutil.cpu_count(), psutil.getloadavg()[0]
    return (
        f"{platform.processor() or platform.machine()}, {cores} cores, {memory:.1f} GiB, load {load:.1f}, "
        f"{torch.get_num_threads()} threads, torch {version('torch')}, ray {version('ray')}, "
        f"{'a GPU' if torch.cuda.is_available() else 'no GPU'}"
    )
