"""What the benchmarks train: WRN-16-2 on made-up images of CIFAR's size, and the default study's ResNet-8 on digits."""

import json
from dataclasses import replace
from typing import Any

import torch

from dks_study.spec.data import DataSpec
from dks_study.spec.trial import TrialSpec
from dks_study.training.data import DataSet, Split, load, training_labels

CLASSES, BATCH, SIDE_PIXELS = 100, 128, 32
OPTIMISER = {"lr": 0.1, "batch_size": BATCH, "decay_batch_norm": True, "schedule": "constant"}
WRN_16_2: dict[str, Any] = {
    "backbone": {"name": "wrn", "depth": 16, "width": 2},
    "branches": {"taps": ["stage1", "stage2"]},
    "data": {"name": "cifar100", "root": "none"},  # not read: images are made up
    "optimiser": OPTIMISER,
}
RESNET_8: dict[str, Any] = {  # as in profiles/laptop.yaml
    "backbone": {"name": "resnet", "depth": 8, "base_channels": 8},
    "branches": {"taps": ["stage1", "stage2"]},
    "data": {"name": "digits", "label_noise": 0.4, "validation_fraction": 0.2},
    "optimiser": OPTIMISER,
}


def trial_of(values: dict[str, Any], **changes: object) -> TrialSpec:
    """Return a search trial with seed 0 of more epochs than are measured; `changes` replace whole sections."""
    whole = {"epochs": 1000, "phase": "search", "seed": 0, **values, **changes}
    return TrialSpec.model_validate_json(json.dumps(whole))


def made_up(images: int, side: int = SIDE_PIXELS) -> DataSet:
    """Return so many random training images [3, side, side] of 100 classes, and two to validate with."""
    random = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=random)
        return Split(pixels, torch.randint(0, CLASSES, (count,), generator=random))

    return DataSet(split(images), split(2), split(2), CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3)


def digits(repeats: int) -> DataSet:
    """Return the digits with every training image so many times, and two to validate with."""
    data = load(DataSpec(name="digits", validation_fraction=0.2))
    train = data.train.take(torch.arange(len(data.train)).repeat(repeats))
    return replace(data, train=train, validation=data.validation.take(slice(0, 2)))


def labelled(data: DataSet, trial: TrialSpec) -> Split:
    """Return the training images with the labels that `trial` trains on."""
    train = data.train.with_labels(training_labels(data, trial.data, trial.seed))
    assert isinstance(train, Split)
    return train
