"""Wide ResNet WRN-(6n+4)-k: three stages of n pre-activation blocks, k times as wide (Zagoruyko, 2016).

Layout as in the network of Sun et al., CVPR 2019. Convolutions and linear layers start Kaiming-normal (fan-in),
biases at 0. Batch-norm scales start at 1, the usual choice; that paper's code draws them from U(0, 1) instead
(`backbone.uniform_batch_norm`).
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from dks_study.method.backbones.staged import Staged, scaled
from dks_study.spec.backbone import WRNSpec

STEM_CHANNELS = 16


class PreActBlock(nn.Module):
    """conv(drop(relu(bn(conv(o))))) + shortcut with o = relu(bn(x)): [B, in, H, W] -> [B, out, ...].

    Where the shape changes the shortcut is a 1x1 convolution of o; elsewhere it is x itself.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        """Build a block; `dropout` in [0, 1) is the share of hidden values set to zero in training."""
        super().__init__()
        self.bn0 = nn.BatchNorm2d(in_channels)
        self.conv0 = conv(in_channels, out_channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv1 = conv(out_channels, out_channels, 3, 1)
        same_shape = in_channels == out_channels and stride == 1
        self.shortcut = None if same_shape else conv(in_channels, out_channels, 1, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the block's output, not activated."""
        activated = F.relu(self.bn0(inputs))
        hidden = self.dropout(F.relu(self.bn1(self.conv0(activated))))
        residual: Tensor = self.conv1(hidden)
        return residual + (inputs if self.shortcut is None else self.shortcut(activated))


class WRN(Staged):
    """Wide ResNet; widths 16k, 32k, 64k; stage outputs are not activated, so heads begin with BN and ReLU."""

    def __init__(self, spec: WRNSpec, in_channels: int, classes: int) -> None:
        """Build the network for images of `in_channels` channels, drawing from the global CPU generator."""
        base = STEM_CHANNELS * spec.width
        super().__init__(widths=(base, 2 * base, 4 * base), blocks=spec.blocks_per_stage)
        self.classes = classes
        self.dropout = spec.dropout
        self.stem = conv(in_channels, STEM_CHANNELS, 3, 1)
        self.stages = self._grow_stages(STEM_CHANNELS)
        self.head = self.new_head(4 * base)

    def new_stage(self, index: int, in_channels: int, blocks: int, width: float = 1.0) -> tuple[nn.Sequential, int]:
        """Return `blocks` pre-activation blocks and their channels; the first has stride 2, save in stage 0."""
        out_channels = scaled(self.taps[index].channels, width)
        first = PreActBlock(in_channels, out_channels, 1 if index == 0 else 2, self.dropout)
        rest = (PreActBlock(out_channels, out_channels, 1, self.dropout) for _ in range(blocks - 1))
        return nn.Sequential(first, *rest), out_channels

    def new_head(self, channels: int) -> nn.Module:
        """Return batch norm, ReLU, global average pooling and a linear layer."""
        return preact_head(channels, self.classes)


def preact_head(channels: int, classes: int) -> nn.Sequential:
    """Return batch norm, ReLU, global average pooling and a Kaiming-normal linear layer."""
    fc = nn.Linear(channels, classes)
    nn.init.kaiming_normal_(fc.weight, nonlinearity="relu")
    nn.init.zeros_(fc.bias)
    return nn.Sequential(
        OrderedDict(
            bn=nn.BatchNorm2d(channels), relu=nn.ReLU(), pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=fc
        )
    )


def conv(in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Conv2d:
    """Return a convolution without bias, Kaiming-normal by fan-in, that keeps the size where stride is 1."""
    layer = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer
