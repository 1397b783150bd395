"""CIFAR ResNet-(6n+2): three stages of n post-activation basic blocks (He et al., 2016, section 4.2).

The shortcut is their option A: where a stage narrows the image, it takes every second pixel and pads the missing
channels with zeros. It has no parameters; with 1x1 convolutions (option B) the published counts (0.27 M for
ResNet-20, 1.7 M for ResNet-110) would not come out.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from dks_study.method.backbones.staged import Staged, scaled
from dks_study.spec.backbone import ResNetSpec


class BasicBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)): [B, in, H, W] -> [B, out, ceil(H / stride), ...]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Build a block; `out_channels` is at least `in_channels`, which zeros cannot take away.

        Raises:
            ValueError: if the block would have fewer channels than its input.
        """
        super().__init__()
        if out_channels < in_channels:
            rule = f"a ResNet's zero-padded shortcut cannot go from {in_channels} to {out_channels} channels"
            raise ValueError(f"branches.width: {rule}")
        self.stride = stride
        self.missing_channels = out_channels - in_channels
        self.conv0 = _conv3x3(in_channels, out_channels, stride)
        self.bn0 = nn.BatchNorm2d(out_channels)
        self.conv1 = _conv3x3(out_channels, out_channels, 1)
        self.bn1 = nn.BatchNorm2d(out_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the block's activated output."""
        hidden = F.relu(self.bn0(self.conv0(inputs)))
        return F.relu(self.bn1(self.conv1(hidden)) + self._shortcut(inputs))

    def _shortcut(self, inputs: Tensor) -> Tensor:
        if self.stride > 1:
            inputs = inputs[:, :, :: self.stride, :: self.stride]
        if self.missing_channels:
            inputs = F.pad(inputs, (0, 0, 0, 0, 0, self.missing_channels))
        return inputs


class ResNet(Staged):
    """CIFAR ResNet; widths base, 2 base, 4 base (16, 32, 64 in the paper); stage outputs are activated."""

    def __init__(self, spec: ResNetSpec, in_channels: int, classes: int) -> None:
        """Build the network for images of `in_channels` channels, drawing from the global CPU generator."""
        base = spec.base_channels
        super().__init__(widths=(base, 2 * base, 4 * base), blocks=spec.blocks_per_stage)
        self.classes = classes
        self.stem = nn.Sequential(
            OrderedDict(conv=_conv3x3(in_channels, base, 1), bn=nn.BatchNorm2d(base), relu=nn.ReLU())
        )
        self.stages = self._grow_stages(base)
        self.head = self.new_head(4 * base)

    def new_stage(self, index: int, in_channels: int, blocks: int, width: float = 1.0) -> tuple[nn.Sequential, int]:
        """Return `blocks` basic blocks and their channels; the first has stride 2, save in stage 0."""
        out_channels = scaled(self.taps[index].channels, width)
        first = BasicBlock(in_channels, out_channels, stride=1 if index == 0 else 2)
        rest = (BasicBlock(out_channels, out_channels, stride=1) for _ in range(blocks - 1))
        return nn.Sequential(first, *rest), out_channels

    def new_head(self, channels: int) -> nn.Module:
        """Return global average pooling and a linear layer."""
        return nn.Sequential(
            OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, self.classes))
        )


def _conv3x3(in_channels: int, out_channels: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
