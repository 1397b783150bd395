"""Every CIFAR-size backbone at its real size, with its branches: an epoch on a few real images, and the loss falls."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dks_study.spec.backbone import DenseNetSpec, MobileNetSpec, PreActResNetSpec, ResNetSpec, VGGSpec, WRNSpec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.trial import DataSpec, OptimiserSpec, TrialSpec
from dks_study.training.data import Split, load
from dks_study.training.team import Team
from dks_study.training.trainer import fit

THREE, FIVE = ("stage1", "stage2"), ("stage3", "stage4")
# name -> (backbone, taps, recipe, training images): fewer for the large ones
BACKBONES = {
    **{f"resnet{depth}": (ResNetSpec(name="resnet", depth=depth), THREE, "paper", 96) for depth in (20, 32, 44, 56)},
    "resnet110": (ResNetSpec(name="resnet", depth=110), THREE, "paper", 48),
    "preact_resnet56": (PreActResNetSpec(name="preact_resnet", depth=56), THREE, "paper", 96),
    "preact_resnet164": (PreActResNetSpec(name="preact_resnet", depth=164, bottleneck=True), THREE, "paper", 96),
    "wrn16_2": (WRNSpec(name="wrn", depth=16, width=2, dropout=0.3), THREE, "paper", 96),
    "wrn28_10": (WRNSpec(name="wrn", depth=28, width=10), THREE, "paper", 16),
    "densenet40": (DenseNetSpec(name="densenet", depth=40), THREE, "paper", 32),
    "densenet_bc100": (
        DenseNetSpec(name="densenet", depth=100, bottleneck=True, reduction=0.5),
        THREE,
        "paper",
        32,
    ),
    "mobilenet": (MobileNetSpec(name="mobilenet"), FIVE, "paper", 48),
    "vgg16_bn": (VGGSpec(name="vgg_bn"), FIVE, "tail", 48),
}
STEPS_PER_EPOCH = 4


def colour_digits(count):
    """Real digits as 32x32 colour images: three shades of the same picture."""
    data = load(DataSpec(name="digits"))
    grey = F.interpolate(data.train.images[:count].float(), size=32, mode="bilinear")
    images = (grey * torch.tensor([1.0, 0.8, 0.6]).view(1, 3, 1, 1)).to(torch.uint8)
    split = Split(images, data.train.labels[:count])
    return replace(
        data,
        train=split,
        validation=split.take(slice(0, 16)),
        test=split.take(slice(0, 16)),
        mean=(0.3,) * 3,
        std=(0.35,) * 3,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_an_epoch_with_branches_lowers_the_loss(name):
    backbone, taps, recipe, images = BACKBONES[name]
    trial = TrialSpec(
        backbone=backbone,
        data=DataSpec(name="digits"),
        branches=BranchSpec(taps=taps, recipe=recipe),
        optimiser=OptimiserSpec(lr=0.002, batch_size=images // STEPS_PER_EPOCH, schedule="constant"),
        epochs=2,
        phase="search",
        seed=0,
    )
    first, second = fit(trial, colour_digits(images), Team.here(torch.device("cpu")))
    assert second.metrics["train/loss"] < first.metrics["train/loss"]
    assert second.metrics["train/loss/main"] < first.metrics["train/loss/main"]
