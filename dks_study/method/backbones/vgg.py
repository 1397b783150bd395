"""VGG with batch norm for small images (Simonyan and Zisserman, 2015): the paper's convolutions, one linear layer.

Five stages of 3x3 convolutions (with bias, batch norm and ReLU) of 64, 128, 256, 512 and 512 channels. The maximum
over 2x2 pixels begins the next stage; the last one, over what is left, belongs to the head, where a single linear
layer takes the place of the three that ImageNet needs. For 32x32 images this is the layout in common use.
"""

from collections import OrderedDict

from torch import nn

from dks_study.method.backbones.staged import Staged, scaled
from dks_study.spec.backbone import VGGSpec


class VGG(Staged):
    """VGG-BN; stage outputs are activated."""

    def __init__(self, spec: VGGSpec, in_channels: int, classes: int) -> None:
        """Build the network for images of `in_channels` channels, drawing from the global CPU generator."""
        super().__init__(widths=(64, 128, 256, 512, 512), blocks=spec.blocks_per_stage)
        self.classes = classes
        self.stem = nn.Identity()
        self.stages = self._grow_stages(in_channels)
        self.head = self.new_head(512)

    def new_stage(self, index: int, in_channels: int, blocks: int, width: float = 1.0) -> tuple[nn.Sequential, int]:
        """Return `blocks` convolutions and their channels; the first has pooling before it, save in stage 0."""
        out_channels = scaled(self.taps[index].channels, width)
        first = _convolution(in_channels, out_channels, halve=index > 0)
        rest = (_convolution(out_channels, out_channels, halve=False) for _ in range(blocks - 1))
        return nn.Sequential(first, *rest), out_channels

    def new_head(self, channels: int) -> nn.Module:
        """Return a global maximum and a linear layer."""
        return nn.Sequential(
            OrderedDict(pool=nn.AdaptiveMaxPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, self.classes))
        )


def _convolution(in_channels: int, out_channels: int, halve: bool) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
    pool = {"pool": nn.MaxPool2d(2, ceil_mode=True)} if halve else {}
    return nn.Sequential(OrderedDict(**pool, conv=conv, bn=nn.BatchNorm2d(out_channels), relu=nn.ReLU()))
