"""The networks that are measured: WRN-28-10 as on CIFAR, ResNet-50 as on ImageNet; in a rehearsal small ones."""

from dataclasses import dataclass
from typing import Any

from measuring.setups import OPTIMISER, trial_of

from dks_study.spec.trial import TrialSpec

WRN: dict[str, Any] = {"backbone": {"name": "wrn", "depth": 28, "width": 10}}
RESNET_50: dict[str, Any] = {"backbone": {"name": "torchvision:resnet50"}}
SMALL_WRN: dict[str, Any] = {"backbone": {"name": "wrn", "depth": 10, "width": 1}}
SMALL_RESNET: dict[str, Any] = {"backbone": {"name": "resnet", "depth": 8, "base_channels": 4}}
GPU = {"gpus_per_worker": 1}  # tf32 is of GPUs; a rehearsal says where it trains all the same
PLAIN: dict[str, Any] = {"branches": {"taps": []}, "loss": {"pairing": "none"}}


@dataclass(frozen=True)
class Case:
    """A network with two branches: its batches, the side of its images, and steps in an epoch of the measurement.

    Attributes:
        steps: in float32, whose products no tensor core computes.
        fast_steps: in every other format.
    """

    title: str
    values: dict[str, Any]
    batch: int
    side_pixels: int
    steps: int
    fast_steps: int

    def trial(self, *, plain: bool, compute: dict[str, object]) -> TrialSpec:
        """Return the trial, `plain` without branches."""
        taps = ["stage2", "stage3"] if self.values is RESNET_50 else ["stage1", "stage2"]
        branches = PLAIN if plain else {"branches": {"taps": taps}}
        optimiser = {**OPTIMISER, "lr": 0.01, "batch_size": self.batch}
        data = {"name": "cifar100", "root": "none"}  # not read: images are made up
        return trial_of(
            {**self.values, **branches, "data": data, "optimiser": optimiser, "compute": compute, "resources": GPU}
        )


CASES = {"wrn": Case("WRN-28-10", WRN, 128, 32, 4, 16), "resnet": Case("ResNet-50", RESNET_50, 64, 224, 4, 16)}
SMALL = {"wrn": Case("WRN-10-1", SMALL_WRN, 4, 8, 1, 2), "resnet": Case("ResNet-8", SMALL_RESNET, 4, 8, 1, 2)}


def case_of(name: str, *, rehearse: bool) -> Case:
    """Return one of the two networks."""
    return (SMALL if rehearse else CASES)[name]
