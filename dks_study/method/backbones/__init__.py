"""All backbones. A new family is one file that fills the contract of `staged.py`, and one line here."""

from collections.abc import Callable, Mapping

from dks_study.method.backbones.densenet import DenseNet
from dks_study.method.backbones.mobilenet import MobileNet
from dks_study.method.backbones.preact_resnet import PreActResNet
from dks_study.method.backbones.resnet import ResNet
from dks_study.method.backbones.staged import Backbone, Staged, Tap
from dks_study.method.backbones.vgg import VGG
from dks_study.method.backbones.wrn import WRN
from dks_study.method.streams import seeded
from dks_study.spec.backbone import BackboneSpec, ExternalSpec, kind_of

__all__ = ["BUILDERS", "Backbone", "Staged", "Tap", "build_backbone"]


def _external(spec: ExternalSpec, in_channels: int, classes: int) -> Backbone:
    from dks_study.method.backbones.external import External  # needs torchvision, which takes a second to import

    return External(spec, in_channels, classes)


# kind of the spec -> (spec, in_channels, classes) -> backbone
BUILDERS: Mapping[str, Callable[..., Backbone]] = {
    "resnet": ResNet,
    "preact_resnet": PreActResNet,
    "wrn": WRN,
    "densenet": DenseNet,
    "mobilenet": MobileNet,
    "vgg_bn": VGG,
    "torchvision": _external,
    "timm": _external,
    "module": _external,
}


def build_backbone(spec: BackboneSpec, in_channels: int, classes: int, seed: int) -> Backbone:
    """Return the backbone of `spec` with the initial weights that belong to `seed`, whatever is attached to it.

    Args:
        spec: family and size.
        in_channels: channels of the images, at least 1.
        classes: number of classes, at least 2.
        seed: the run's seed.

    Raises:
        ValueError: one line that names the key, if a network from elsewhere cannot be made or walked.
    """
    with seeded(seed, "backbone"):
        return BUILDERS[kind_of(spec.name)](spec, in_channels, classes)
