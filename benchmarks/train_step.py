"""What `fit` adds to a training step, and what it saves: python benchmarks/train_step.py.

One thread. For WRN-16-2 (CIFAR size, 2 branches and main, made-up images) and for ResNet-8 on digits (the default
study's network), in turn in one process, in CPU time of the process:

- ours: `fit` as it comes, an epoch at a time;
- bare: a hand-written loop over the same batches with the same network, loss and optimiser, and nothing else;
- published: the same network in the default layout with the published loss and PyTorch's default SGD;
- compiled, with --compile: `fit` with `compute.compile`, where a C++ compiler is.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from measuring.alternating import alternate, machine, seconds_of, show
from measuring.loops import bare, ours, published
from measuring.setups import BATCH, RESNET_8, WRN_16_2, digits, made_up, trial_of

from dks_study.training.data import DataSet

ROUNDS = 15


def sides(values: dict[str, Any], data: DataSet, *, compiled: bool) -> dict[str, Callable[[], object]]:
    """Return what is compared: each call trains an epoch."""
    trial = trial_of(values)
    found = {"ours": ours(trial, data), "bare": bare(trial, data), "published": published(trial, data)}
    return found | ({"compiled": ours(trial_of(values, compute={"compile": True}), data)} if compiled else {})


def measure(values: dict[str, Any], data: DataSet, *, compiled: bool, rounds: int) -> dict[str, list[float]]:
    """Return CPU seconds per step of every side."""
    steps = len(data.train) // BATCH

    def timed(epoch: Callable[[], object]) -> Callable[[], float]:
        return lambda: seconds_of(epoch, clock=time.process_time) / steps

    return alternate({name: timed(epoch) for name, epoch in sides(values, data, compiled=compiled).items()}, rounds)


def cases() -> dict[str, tuple[dict[str, Any], DataSet]]:
    """Return by name a description, and data for so many steps that what `fit` does between epochs hardly counts."""
    return {"WRN-16-2": (WRN_16_2, made_up(2 * BATCH)), "ResNet-8": (RESNET_8, digits(repeats=12))}


def main() -> None:
    """Measure one network or both."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--compile", action="store_true", help="measure a compiled network, too")
    arguments.add_argument("--rounds", type=int, default=ROUNDS, help="how many measurements of each side are kept")
    arguments.add_argument("--only", choices=list(cases()), help="one of the networks")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    print(machine())
    for title, (values, data) in cases().items():
        if asked.only in (None, title):
            print(f"\n{title}, batch {BATCH}")
            seconds = measure(values, data, compiled=asked.compile, rounds=asked.rounds)
            pairs = [("ours", "bare", 1.03), ("ours", "published", 0.80), ("compiled", "published", 0.80)]
            for side, against, target in pairs if asked.compile else pairs[:2]:
                show({name: seconds[name] for name in (side, against)}, side, against, target)


if __name__ == "__main__":
    main()
