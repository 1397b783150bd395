"""CIFAR DenseNet (Huang et al., 2017): three dense blocks; with bottlenecks and transitions that reduce, DenseNet-BC.

A stage is a dense block; the transition that halves the image begins the next one. A tap behind a layer has all
channels that were made so far.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dks_study.method.backbones.staged import Staged, Tap, scaled
from dks_study.method.backbones.wrn import conv, preact_head
from dks_study.spec.backbone import DenseNetSpec

BOTTLENECK_GROWTHS = 4


class DenseLayer(nn.Module):
    """Append `growth` channels, made of all that there are: [B, in, H, W] -> [B, in + growth, H, W]."""

    def __init__(self, in_channels: int, growth: int, bottleneck: bool) -> None:
        """Build BN-ReLU-conv3x3, with a 1x1 bottleneck of 4 `growth` channels before it if wished."""
        super().__init__()
        inner = BOTTLENECK_GROWTHS * growth if bottleneck else in_channels
        self.reduce = _norm_relu_conv(in_channels, inner, 1) if bottleneck else None
        self.grow = _norm_relu_conv(inner, growth, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs with the new channels behind them."""
        return torch.cat([inputs, self.grow(inputs if self.reduce is None else self.reduce(inputs))], dim=1)


class DenseNet(Staged):
    """DenseNet; stage outputs are not activated, so heads begin with BN and ReLU."""

    def __init__(self, spec: DenseNetSpec, in_channels: int, classes: int) -> None:
        """Build the network for images of `in_channels` channels, drawing from the global CPU generator."""
        layers, growth = spec.blocks_per_stage[0], spec.growth
        stem = 2 * growth if spec.bottleneck and spec.reduction < 1 else 16  # the paper's, for BC and for the rest
        ends = [stem + layers * growth]
        for _ in range(2):
            ends.append(int(ends[-1] * spec.reduction) + layers * growth)
        super().__init__(widths=tuple(ends), blocks=spec.blocks_per_stage)
        self.inner_taps = tuple(
            Tap(f"{tap.name}.{layer}", tap.channels - (layers - layer) * growth, tap.stride)
            for tap in self.taps
            for layer in range(1, layers)
        )
        self.classes, self.growth, self.bottleneck, self.reduction = classes, growth, spec.bottleneck, spec.reduction
        self.stem = conv(in_channels, stem, 3, 1)
        self.stages = self._grow_stages(stem)
        self.head = self.new_head(ends[-1])

    def new_stage(self, index: int, in_channels: int, blocks: int, width: float = 1.0) -> tuple[nn.Sequential, int]:
        """Return `blocks` dense layers and their channels, a transition before them save in stage 0.

        The number of channels follows from the growth rate, which is what `width` multiplies.
        """
        growth, channels, stage = scaled(self.growth, width), in_channels, nn.Sequential()
        for number in range(blocks):
            begins = index > 0 and number == 0
            kept = max(1, int(channels * self.reduction)) if begins else channels
            layer = DenseLayer(kept, growth, self.bottleneck)
            stage.append(nn.Sequential(_transition(channels, kept), layer) if begins else layer)
            channels = kept + growth
        return stage, channels

    def new_head(self, channels: int) -> nn.Module:
        """Return batch norm, ReLU, global average pooling and a linear layer."""
        return preact_head(channels, self.classes)


class Halve(nn.Module):
    """Average over 2x2 pixels, at an odd border over what is there: [B, C, H, W] -> [B, C, ceil(H/2), ...]."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the smaller feature map."""
        return F.avg_pool2d(inputs, 2, ceil_mode=True)


def _transition(in_channels: int, out_channels: int) -> nn.Sequential:
    return _norm_relu_conv(in_channels, out_channels, 1).append(Halve())


def _norm_relu_conv(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    layers = OrderedDict(
        bn=nn.BatchNorm2d(in_channels), relu=nn.ReLU(), conv=conv(in_channels, out_channels, kernel, 1)
    )
    return nn.Sequential(layers)
