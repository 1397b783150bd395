"""What is grown at a tap: the auxiliary classifier that a recipe stands for, with fresh weights."""

from dataclasses import dataclass

from torch import Tensor, nn

from dks_study.method.backbones import Tap, Walked
from dks_study.method.tokens import TokenPlace, grow_at_tokens
from dks_study.spec.backbone import BackboneSpec, ExternalSpec, tap_position
from dks_study.spec.branches import BranchSpec, bottleneck_layout, branch_layout, recipe_at


@dataclass(frozen=True)
class Site:
    """A place where a branch grows.

    Attributes:
        tap: its name, and the feature map there.
        after: the ends of the stages that follow it in the backbone.
        stage: which tap of `walked` it is: the end of a stage or a place inside one; None: no stages are known there.
        walked: the backbone, if its stages are known.
        tokens: what is known where there are tokens or channels last; None: the feature map is [B, C, H, W].
    """

    tap: Tap
    after: tuple[Tap, ...]
    stage: str | None = None
    walked: Walked | None = None
    tokens: TokenPlace | None = None


def stage_site(walked: Walked, stage: str, tap: Tap | None = None) -> Site:
    """Return the place at a tap of a backbone with stages, which goes by another name there if `tap` is given.

    Raises:
        ValueError: one line, if there is no such tap.
    """
    own = walked.tap(stage)
    return Site(tap or own, walked.taps[int(tap_position(stage)[0]) :], stage, walked)


def grow(site: Site, backbone: BackboneSpec, branches: BranchSpec, classes: int) -> nn.Sequential:
    """Return the branch that `branches.recipe` stands for at `site`: feature map -> logits [B, classes].

    Raises:
        ValueError: one line that names the key, if it cannot grow there.
    """
    tap, stage, walked = site.tap, site.stage, site.walked
    if site.tokens:
        assert isinstance(backbone, ExternalSpec)
        return grow_at_tokens(site.tokens, tap.name, tap.channels, backbone, branches, classes)
    recipe = recipe_at(backbone, branches, stage)
    if stage is None or walked is None:
        if recipe not in ("bottleneck", "linear"):
            rule = f"must be bottleneck or linear at {tap.name}, which is not known to be the end of a stage"
            raise ValueError(f"branches.recipe: {rule}, got {recipe!r}")
        growth = bottleneck_layout(len(site.after), branches, tap.name) if recipe == "bottleneck" else ()
    else:
        growth = branch_layout(backbone, walked.blocks_per_stage, branches, tap.name, stage)
        if recipe not in ("bottleneck", "linear"):
            return nn.Sequential(*walked.new_tail(int(tap_position(stage)[0]), tap.channels, growth))
    channels, stride = tap.channels, tap.stride
    parts: list[nn.Module] = []
    for (_, width), after in zip(growth, site.after, strict=False):
        out_channels = max(1, round(after.channels * width))
        parts.append(Bottleneck(channels, out_channels, after.stride // stride))
        channels, stride = out_channels, after.stride
    if walked is not None and not parts:
        return nn.Sequential(walked.new_head(channels))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    return nn.Sequential(*parts, head)


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
