"""Auxiliary classifiers: what is grown at a tap, and the network of a backbone with its branches."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from dks_study.method.backbones import Backbone, build_backbone
from dks_study.method.streams import seeded
from dks_study.spec.backbone import BackboneSpec, tap_position
from dks_study.spec.branches import BranchSpec, Growth, branch_layout
from dks_study.spec.pairing import MAIN


class BranchedNet(nn.Module):
    """A backbone, unmodified, with one branch at each of some taps: images -> logits by classifier.

    Attributes:
        backbone: what ships; the weights of `backbone.plain()` load into the original network.
        branches: shallow to deep, dropped for inference; by tap name with '_' for '.', which modules cannot be named.
    """

    def __init__(self, backbone: Backbone, branches: Mapping[str, nn.Module]) -> None:
        """Join a backbone and its branches, given by tap name in any order."""
        super().__init__()
        self.backbone = backbone
        self._taps = tuple(backbone.tap(tap).name for tap in sorted(branches, key=tap_position))
        self.branches = nn.ModuleDict({tap.replace(".", "_"): branches[tap] for tap in self._taps})

    @property
    def names(self) -> tuple[str, ...]:
        """The classifiers, shallow to deep, `main` last."""
        return (*self._taps, MAIN)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits [B, classes] by classifier, shallow to deep, of images [B, in_channels, H, W].

        The backbone runs to its end before any branch runs: from one generator state its dropout then draws
        the same numbers whatever branches there are.
        """
        features = self.backbone.walk(images, self._taps)
        main = self.backbone.classify(features[self.backbone.taps[-1].name])
        branches = zip(self._taps, self.branches.values(), strict=True)
        logits = {tap: branch(features[tap]) for tap, branch in branches}
        return {**logits, MAIN: main}


def build_branched(
    backbone_spec: BackboneSpec, branches_spec: BranchSpec, in_channels: int, classes: int, seed: int
) -> BranchedNet:
    """Return a backbone with its branches; equal parts get equal initial weights whatever else is built.

    Args:
        backbone_spec: what ships.
        branches_spec: which branches, and how they are made.
        in_channels: channels of the images, at least 1.
        classes: number of classes, at least 2.
        seed: the backbone and every branch draw from streams of their own.

    Raises:
        ValueError: one line that names the key, if the backbone cannot be built, lacks a tap, or cannot grow there
            what the recipe asks for.
    """
    backbone = build_backbone(backbone_spec, in_channels, classes, seed)
    branches: dict[str, nn.Module] = {}
    for tap in branches_spec.taps:
        backbone.tap(tap)
        growth = branch_layout(backbone_spec, backbone.blocks_per_stage, branches_spec, tap)
        with seeded(seed, "branch", tap):
            branches[tap] = nn.Sequential(*_grow(branches_spec.recipe, backbone, tap, classes, growth))
    return BranchedNet(backbone, branches)


def _grow(recipe: str, backbone: Backbone, tap: str, classes: int, growth: Sequence[Growth]) -> list[nn.Module]:
    channels, first = backbone.tap(tap).channels, int(tap_position(tap)[0])
    if recipe == "linear":
        return [backbone.new_head(channels)]
    if recipe != "bottleneck":
        return backbone.new_tail(first, channels, growth)
    parts: list[nn.Module] = []
    for (_, width), before, after in zip(growth, backbone.taps[first - 1 :], backbone.taps[first:], strict=False):
        out_channels = max(1, round(after.channels * width))
        parts.append(Bottleneck(channels, out_channels, after.stride // before.stride))
        channels = out_channels
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    return [*parts, nn.Sequential(*head)] if parts else [backbone.new_head(channels)]


class Bottleneck(nn.Module):
    """relu(1x1 to a quarter, 3x3 with the stride, 1x1; + 1x1 shortcut), each with BN: [B, in, ...] -> [B, out, ...]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Build a block that divides the resolution by `stride`, rounding up."""
        super().__init__()
        inner = max(1, out_channels // 4)
        self.residual = nn.Sequential(
            *_conv_bn(in_channels, inner, 1, 1),
            nn.ReLU(),
            *_conv_bn(inner, inner, 3, stride),
            nn.ReLU(),
            *_conv_bn(inner, out_channels, 1, 1),
        )
        self.shortcut = nn.Sequential(*_conv_bn(in_channels, out_channels, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the block's activated output."""
        output: Tensor = self.relu(self.residual(inputs) + self.shortcut(inputs))
        return output


def _conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv, nn.BatchNorm2d(out_channels)
