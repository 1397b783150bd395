"""The contract of all backbones: a stem, named stages in order, and a head, walked explicitly.

A branch attaches at a tap, the end of a stage, and grows the stages that follow in the family's own blocks: that is
what `new_stage` and `new_head` are for. There are no forward hooks: declared stages survive deepcopy, pickle,
torch.export and DDP, and a backbone does not know whether anything branches off it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Tap:
    """The end of a stage.

    Attributes:
        name: the stage's name, 'stage1' and so on.
        channels: channels of the stage's output.
        stride: input pixels per output pixel along each side.
    """

    name: str
    channels: int
    stride: int


class Staged(nn.Module, ABC):
    """A classifier of images made of `stem`, `stages` and `head`.

    Attributes:
        stem: [B, in_channels, H, W] -> [B, stem channels, H, W].
        stages: by name, shallow to deep; the first keeps the resolution, each later one halves it (rounding up).
        head: output of the last stage -> logits [B, classes].
        taps: one per stage, in order, the last included.
        blocks_per_stage: number of residual blocks in each stage.
    """

    def __init__(self, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        """Declare stages of these widths (output channels) and blocks; the family builds them."""
        super().__init__()
        self.taps = tuple(Tap(f"stage{i + 1}", width, 2**i) for i, width in enumerate(widths))
        self.blocks_per_stage = blocks
        self.stem: nn.Module
        self.stages: nn.ModuleDict
        self.head: nn.Module

    def walk(self, images: Tensor) -> dict[str, Tensor]:
        """Return the output of every stage by name, shallow to deep; `images` is [B, in_channels, H, W]."""
        features: dict[str, Tensor] = {}
        current = self.stem(images)
        for name, stage in self.stages.items():
            current = stage(current)
            features[name] = current
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, classes] of images [B, in_channels, H, W]."""
        logits: Tensor = self.head(self.walk(images)[self.taps[-1].name])
        return logits

    @abstractmethod
    def new_stage(self, index: int, in_channels: int, out_channels: int, blocks: int) -> nn.Module:
        """Return a stage with fresh weights that could stand at position `index` (0 is the first stage)."""

    @abstractmethod
    def new_head(self, channels: int) -> nn.Module:
        """Return a head with fresh weights for the output of a stage with so many channels."""

    def _grow_stages(self, stem_channels: int) -> nn.ModuleDict:
        """Build all declared stages, each on the output of the one before."""
        stages = nn.ModuleDict()
        channels = stem_channels
        for index, (tap, blocks) in enumerate(zip(self.taps, self.blocks_per_stage, strict=True)):
            stages[tap.name] = self.new_stage(index, channels, tap.channels, blocks)
            channels = tap.channels
        return stages
