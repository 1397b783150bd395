"""MobileNet v1 (Howard et al., 2017) for small images: the stem and the first stage keep the resolution.

The other strides, and so the number of parameters, are the paper's: stages of 64, 128, 256, 512 and 1024 channels
with 1, 2, 2, 6 and 2 depthwise-separable convolutions.
"""

from collections import OrderedDict

from torch import nn

from dks_study.method.backbones.staged import Staged, scaled
from dks_study.method.backbones.wrn import conv
from dks_study.spec.backbone import MobileNetSpec

STEM_CHANNELS = 32


class MobileNet(Staged):
    """MobileNet; `width` multiplies all channels; stage outputs are activated."""

    def __init__(self, spec: MobileNetSpec, in_channels: int, classes: int) -> None:
        """Build the network for images of `in_channels` channels, drawing from the global CPU generator."""
        widths = tuple(scaled(channels, spec.width) for channels in (64, 128, 256, 512, 1024))
        super().__init__(widths=widths, blocks=spec.blocks_per_stage)
        self.classes = classes
        stem = scaled(STEM_CHANNELS, spec.width)
        self.stem = nn.Sequential(
            OrderedDict(conv=conv(in_channels, stem, 3, 1), bn=nn.BatchNorm2d(stem), relu=nn.ReLU())
        )
        self.stages = self._grow_stages(stem)
        self.head = self.new_head(widths[-1])

    def new_stage(self, index: int, in_channels: int, blocks: int, width: float = 1.0) -> tuple[nn.Sequential, int]:
        """Return `blocks` separable convolutions and their channels; the first has stride 2, save in stage 0."""
        out_channels = scaled(self.taps[index].channels, width)
        first = _separable(in_channels, out_channels, 1 if index == 0 else 2)
        rest = (_separable(out_channels, out_channels, 1) for _ in range(blocks - 1))
        return nn.Sequential(first, *rest), out_channels

    def new_head(self, channels: int) -> nn.Module:
        """Return global average pooling and a linear layer."""
        return nn.Sequential(
            OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, self.classes))
        )


def _separable(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Return a 3x3 convolution of each channel by itself and a 1x1 convolution, each with BN and ReLU."""
    depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False)
    nn.init.kaiming_normal_(depthwise.weight, nonlinearity="relu")
    return nn.Sequential(
        OrderedDict(
            depthwise=depthwise,
            bn0=nn.BatchNorm2d(in_channels),
            relu0=nn.ReLU(),
            pointwise=conv(in_channels, out_channels, 1, 1),
            bn1=nn.BatchNorm2d(out_channels),
            relu1=nn.ReLU(),
        )
    )
