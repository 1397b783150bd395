"""Whether branches cost what their arithmetic costs: python benchmarks/branch_throughput.py.

One thread, CPU time of the process, in turn: a training step with branches against one without, beside the ratio of
multiply-accumulates that dks_study.training.cost counts for the two networks.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from measuring.alternating import alternate, machine, ratios, seconds_of, show
from measuring.loops import bare
from measuring.setups import OPTIMISER, RESNET_8, WRN_16_2, digits, made_up, trial_of

from dks_study.method.networks import build_network
from dks_study.training.cost import count_cost
from dks_study.training.data import DataSet

ROUNDS, BATCH = 9, 64
TARGET = 1.1  # times the ratio of the arithmetic
OF_BATCH = {"optimiser": {**OPTIMISER, "batch_size": BATCH}}
ALONE = {"branches": {"taps": []}, "loss": {"pairing": "none"}}
CIFAR = {**WRN_16_2, **OF_BATCH}


def with_recipe(values: dict[str, Any], recipe: str) -> dict[str, Any]:
    """Return the description with branches by another recipe."""
    return {**values, "branches": {**values["branches"], "recipe": recipe}}


def cases() -> dict[str, tuple[dict[str, Any], DataSet]]:
    """Return by title a description with branches, and data."""
    colour = made_up(BATCH)
    return {
        "WRN-16-2, paper": (CIFAR, colour),
        "WRN-16-2, tail": (with_recipe(CIFAR, "tail"), colour),
        "WRN-16-2, bottleneck": (with_recipe(CIFAR, "bottleneck"), colour),
        "WRN-16-2, linear": (with_recipe(CIFAR, "linear"), colour),
        "ResNet-20, paper": ({**CIFAR, "backbone": {"name": "resnet", "depth": 20}}, colour),
        "ResNet-8 on digits, batch 128, paper": (RESNET_8, digits(repeats=1)),
    }


def arithmetic_ratio(values: dict[str, Any], data: DataSet) -> float:
    """Return multiply-accumulates of the network in training over those of its backbone alone."""
    network = build_network(trial_of(values), data.image_shape[0], data.classes, seed=0)
    cost = count_cost(network, data.image_shape)
    return cost.macs_train / cost.macs_inference


def measure(values: dict[str, Any], data: DataSet, rounds: int) -> dict[str, list[float]]:
    """Return CPU seconds per step with branches and without."""
    steps = len(data.train) // values["optimiser"]["batch_size"]

    def timed(changes: dict[str, Any]) -> Callable[[], float]:
        epoch = bare(trial_of(values, **changes), data)
        return lambda: seconds_of(epoch, clock=time.process_time) / steps

    return alternate({"with branches": timed({}), "without": timed(ALONE)}, rounds)


def main() -> None:
    """Measure all cases."""
    torch.set_num_threads(1)
    print(machine())
    for title, (values, data) in cases().items():
        counted = arithmetic_ratio(values, data)
        print(f"\n{title}: {counted:.3f} times the arithmetic")
        seconds = measure(values, data, ROUNDS)
        show(seconds, "with branches", "without", round(TARGET * counted, 3))
        print(f"measured over counted: {statistics.median(ratios(seconds, 'with branches', 'without')) / counted:.3f}")


if __name__ == "__main__":
    main()
