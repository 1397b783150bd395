"""All backbone families. A new family is one file that fills the contract of `staged.py`, and one line here."""

from collections.abc import Callable, Mapping

from dks_study.backbone_spec import BackboneSpec
from dks_study.backbones.resnet import ResNet
from dks_study.backbones.staged import Staged, Tap
from dks_study.backbones.wrn import WRN
from dks_study.streams import seeded

__all__ = ["BUILDERS", "Staged", "Tap", "build_backbone"]

# name in the spec -> (spec, in_channels, classes) -> backbone
BUILDERS: Mapping[str, Callable[..., Staged]] = {
    "resnet": ResNet,
    "wrn": WRN,
}


def build_backbone(spec: BackboneSpec, in_channels: int, classes: int, seed: int) -> Staged:
    """Return the backbone of `spec` with the initial weights that belong to `seed`, whatever is attached to it.

    Args:
        spec: family and size.
        in_channels: channels of the images, at least 1.
        classes: number of classes, at least 2.
        seed: the run's seed.
    """
    with seeded(seed, "backbone"):
        return BUILDERS[spec.name](spec, in_channels, classes)
