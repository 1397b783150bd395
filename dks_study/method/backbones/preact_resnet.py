"""Pre-activation CIFAR ResNet (He et al., 2016b): three stages of basic (6n+2) or bottleneck (9n+2) blocks.

The shortcut is a 1x1 convolution where the shape changes. With basic blocks this is a WRN of width 1.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from dks_study.method.backbones.staged import Staged, scaled
from dks_study.method.backbones.wrn import STEM_CHANNELS, PreActBlock, conv, preact_head
from dks_study.spec.backbone import PreActResNetSpec

EXPANSION = 4


class PreActBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each behind batch norm and ReLU, + shortcut: [B, in, H, W] -> [B, out, ...]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Build a block whose 3x3 convolution has a quarter of `out_channels`."""
        super().__init__()
        inner = max(1, out_channels // EXPANSION)
        self.bn0 = nn.BatchNorm2d(in_channels)
        self.conv0 = conv(in_channels, inner, 1, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv1 = conv(inner, inner, 3, stride)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = conv(inner, out_channels, 1, 1)
        same_shape = in_channels == out_channels and stride == 1
        self.shortcut = None if same_shape else conv(in_channels, out_channels, 1, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the block's output, not activated."""
        activated = F.relu(self.bn0(inputs))
        hidden = self.conv1(F.relu(self.bn1(self.conv0(activated))))
        residual: Tensor = self.conv2(F.relu(self.bn2(hidden)))
        return residual + (inputs if self.shortcut is None else self.shortcut(activated))


class PreActResNet(Staged):
    """Pre-activation ResNet; widths 16, 32, 64, four times as much with bottlenecks; stages are not activated."""

    def __init__(self, spec: PreActResNetSpec, in_channels: int, classes: int) -> None:
        """Build the network for images of `in_channels` channels, drawing from the global CPU generator."""
        base = STEM_CHANNELS * (EXPANSION if spec.bottleneck else 1)
        super().__init__(widths=(base, 2 * base, 4 * base), blocks=spec.blocks_per_stage)
        self.classes = classes
        self.bottleneck = spec.bottleneck
        self.stem = conv(in_channels, STEM_CHANNELS, 3, 1)
        self.stages = self._grow_stages(STEM_CHANNELS)
        self.head = self.new_head(4 * base)

    def new_stage(self, index: int, in_channels: int, blocks: int, width: float = 1.0) -> tuple[nn.Sequential, int]:
        """Return `blocks` blocks and their channels; the first has stride 2, save in stage 0."""
        out_channels = scaled(self.taps[index].channels, width)
        first = self._block(in_channels, out_channels, 1 if index == 0 else 2)
        rest = (self._block(out_channels, out_channels, 1) for _ in range(blocks - 1))
        return nn.Sequential(first, *rest), out_channels

    def _block(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        if self.bottleneck:
            return PreActBottleneck(in_channels, out_channels, stride)
        return PreActBlock(in_channels, out_channels, stride, dropout=0.0)

    def new_head(self, channels: int) -> nn.Module:
        """Return batch norm, ReLU, global average pooling and a linear layer."""
        return preact_head(channels, self.classes)
