"""All backbones. A new family is one file that fills the contract of `staged.py`, and one line here."""

from collections.abc import Callable, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dks_study.method.backbones.densenet import DenseNet
from dks_study.method.backbones.layout import LayoutError
from dks_study.method.backbones.mobilenet import MobileNet
from dks_study.method.backbones.preact_resnet import PreActResNet
from dks_study.method.backbones.resnet import ResNet
from dks_study.method.backbones.staged import Backbone, Staged, Tap, Walked
from dks_study.method.backbones.vgg import VGG
from dks_study.method.backbones.watched import Watched
from dks_study.method.backbones.wrn import WRN
from dks_study.method.streams import seeded
from dks_study.spec.backbone import BackboneSpec, ExternalSpec, kind_of

__all__ = ["BUILDERS", "Backbone", "Staged", "Tap", "Walked", "Watched", "build_backbone", "draw_scales"]


def _external(spec: ExternalSpec, in_channels: int, classes: int) -> Backbone:
    from dks_study.method.backbones.external import External  # needs torchvision, which takes a second to import

    return External(spec, in_channels, classes)


def _watched(spec: ExternalSpec, in_channels: int, classes: int, stageless: str) -> Watched:
    from dks_study.method.backbones.external import channels_shown
    from dks_study.method.backbones.origins import make

    channels = channels_shown(spec, in_channels)
    model = make(spec, channels, classes)
    return Watched(model, classes, output=spec.output, in_channels=channels, stageless=stageless)


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

    A network from elsewhere without stages that can be found is watched instead of walked.

    Raises:
        ValueError: one line that names the key, if a network from elsewhere cannot be made, or has no batch norm whose
            scales could be drawn.
    """
    try:
        with seeded(seed, "backbone"):
            backbone = BUILDERS[kind_of(spec.name)](spec, in_channels, classes)
    except LayoutError as error:
        assert isinstance(spec, ExternalSpec)
        with seeded(seed, "backbone"):
            backbone = _watched(spec, in_channels, classes, str(error))
    backbone.spec = spec
    if spec.uniform_batch_norm and not draw_scales(backbone, seed, "backbone"):
        rule = f"must be left out with {spec.name}, which has no batch norm with scales"
        raise ValueError(f"backbone.uniform_batch_norm: {rule}, got true")
    return backbone


def draw_scales(network: nn.Module, seed: int, *name: str) -> int:
    """Draw the scales of batch norm from U(0, 1), from a stream of their own; return how many layers have some.

    Source: the initial weights in the published code of Sun et al. (2019), where all other weights are drawn as here.
    """
    scales = [each.weight for each in network.modules() if isinstance(each, _BatchNorm) and each.weight is not None]
    with seeded(seed, "batch_norm", *name):
        for scale in scales:
            nn.init.uniform_(scale)
    return len(scales)
