"""The contract of all backbones, and our own families' way to fill it: a stem, named stages and a head, walked.

A branch attaches at a tap: the end of a stage, or a place between two of its blocks. Declared stages survive deepcopy,
pickle, torch.export and DDP, and a backbone does not know whether anything branches off it. (A network without stages
is tapped at its modules: `watched.py`.)
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from dks_study.spec.backbone import BackboneSpec, split_tap


@dataclass(frozen=True)
class Tap:
    """A place where a branch can attach.

    Attributes:
        name: 'stage2' for the end of a stage, 'stage2.3' for what its third block puts out.
        channels: channels of the feature map.
        stride: input pixels per feature-map pixel along each side.
    """

    name: str
    channels: int
    stride: int


class Backbone(nn.Module, ABC):
    """A classifier of images that can be tapped.

    Attributes:
        spec: what it was built from, if `build_backbone` built it.
        pretrained: names in `plain()` of the parameters whose values came from a file (`backbone.weights`).
    """

    spec: BackboneSpec | None = None
    pretrained: frozenset[str] = frozenset()

    @abstractmethod
    def tapped(self, images: Tensor, taps: Collection[str]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the feature maps of `taps`, perhaps with others, and the logits [B, classes]."""

    @abstractmethod
    def plain(self) -> nn.Module:
        """Return the network that ships: its state_dict is that of the original, unbranched network."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, classes] of images [B, in_channels, H, W]."""
        return self.tapped(images, ())[1]


class Walked(Backbone, ABC):
    """A backbone that is a sequence of stages, each a sequence of blocks, run one after another.

    Attributes:
        taps: the ends of the stages in order, the last included.
        inner_taps: behind every block that does not end its stage.
        blocks_per_stage: number of blocks in each stage.
    """

    taps: tuple[Tap, ...]
    inner_taps: tuple[Tap, ...]
    blocks_per_stage: tuple[int, ...]

    @abstractmethod
    def walk(self, images: Tensor, inner: Collection[str] = ()) -> dict[str, Tensor]:
        """Return feature maps by tap, shallow to deep: of every stage's end, and of the inner taps named."""

    @abstractmethod
    def module_at(self, tap: str) -> str | None:
        """Return the name of the module that puts out what is tapped at `tap`; None if a function comes behind it."""

    @abstractmethod
    def steps_to(self, tap: str) -> tuple[str, ...]:
        """Return the names in `plain()` of the modules that run, one after another, up to `tap`; functions with ':'."""

    def cut(self, tap: str) -> None:
        """Drop everything that runs behind `tap`, for good: `walk` then ends there."""
        keep_only(self.plain(), self.steps_to(tap))

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Return logits [B, classes] of the last stage's output."""

    @abstractmethod
    def new_tail(self, first: int, channels: int, growth: Sequence[tuple[int, float]]) -> list[nn.Module]:
        """Return stages and a head with fresh weights, in the backbone's own blocks.

        Args:
            first: position of the backbone's stage that the first of them is like, 0 for the first stage.
            channels: of the feature map that they are given.
            growth: number of blocks, and width relative to the backbone's own stage, of each. May be empty.
        """

    @abstractmethod
    def new_head(self, channels: int) -> nn.Module:
        """Return a simple head with fresh weights for such a feature map: pooling and one linear layer."""

    def plain(self) -> nn.Module:
        """Return the network that ships."""
        return self

    def tapped(self, images: Tensor, taps: Collection[str]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the feature maps of all stages and of `taps`, and the logits [B, classes]."""
        features = self.walk(images, taps)
        return features, self.classify(features[self.taps[-1].name])

    def tap(self, name: str) -> Tap:
        """Return the tap of this name.

        Raises:
            ValueError: if there is none, or it is the end of the last stage, which `main` follows.
        """
        there = {tap.name: tap for tap in (*self.taps[:-1], *self.inner_taps)}
        if name not in there:
            inside = f" and inside them (such as {self.inner_taps[0].name})" if self.inner_taps else ""
            ends = ", ".join(tap.name for tap in self.taps[:-1])
            raise ValueError(f"branches.taps: this backbone has the taps {ends}{inside}, got {name!r}")
        return there[name]


class Staged(Walked):
    """A backbone made of `stem`, `stages` and `head`: what our own families are.

    Attributes:
        stem: [B, in_channels, H, W] -> [B, stem channels, H, W].
        stages: sequences of blocks by name; the first keeps the resolution, each later one halves it (rounding up).
        head: output of the last stage -> logits [B, classes].
    """

    def __init__(self, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        """Declare stages of these widths (channels of every block's output); the family builds them."""
        super().__init__()
        self.taps = tuple(Tap(f"stage{i + 1}", width, 2**i) for i, width in enumerate(widths))
        self.inner_taps = tuple(
            Tap(f"{tap.name}.{block}", tap.channels, tap.stride)
            for tap, count in zip(self.taps, blocks, strict=True)
            for block in range(1, count)
        )
        self.blocks_per_stage = blocks
        self.stem: nn.Module
        self.stages: nn.ModuleDict
        self.head: nn.Module

    def walk(self, images: Tensor, inner: Collection[str] = ()) -> dict[str, Tensor]:
        """Return feature maps by tap, shallow to deep: of every stage's end, and of the inner taps named."""
        features: dict[str, Tensor] = {}
        current = self.stem(images)
        for name, stage in self.stages.items():
            assert isinstance(stage, nn.Sequential)
            for number, block in enumerate(stage, start=1):
                current = block(current)
                if f"{name}.{number}" in inner:
                    features[f"{name}.{number}"] = current
            features[name] = current
        return features

    def module_at(self, tap: str) -> str:
        """Return the name of the block, the last one of a stage for its end: a stage itself is never called."""
        stage, block = split_tap(tap)
        last = self.blocks_per_stage[int(stage.removeprefix("stage")) - 1]
        return f"stages.{stage}.{(block or last) - 1}"

    def steps_to(self, tap: str) -> tuple[str, ...]:
        """Return the names of the stem and of all blocks up to `tap`."""
        last = self.module_at(tap)
        blocks = [
            f"stages.{stage.name}.{i}"
            for stage, n in zip(self.taps, self.blocks_per_stage, strict=True)
            for i in range(n)
        ]
        return ("stem", *blocks[: blocks.index(last) + 1])

    def classify(self, features: Tensor) -> Tensor:
        """Return logits [B, classes] of the last stage's output."""
        logits: Tensor = self.head(features)
        return logits

    def new_tail(self, first: int, channels: int, growth: Sequence[tuple[int, float]]) -> list[nn.Module]:
        """Return stages and a head with fresh weights, in the family's own blocks."""
        parts: list[nn.Module] = []
        for index, (blocks, width) in enumerate(growth, start=first):
            stage, channels = self.new_stage(index, channels, blocks, width)
            parts.append(stage)
        return [*parts, self.new_head(channels)]

    @abstractmethod
    def new_stage(self, index: int, in_channels: int, blocks: int, width: float = 1.0) -> tuple[nn.Sequential, int]:
        """Return a stage with fresh weights, one item per block, and the channels that it puts out.

        Args:
            index: the position that it could stand at, 0 for the first stage.
            in_channels: of the feature map that it is given.
            blocks: at least 1.
            width: relative to the backbone's own stage there, above 0.
        """

    def _grow_stages(self, stem_channels: int) -> nn.ModuleDict:
        """Build all declared stages, each on the output of the one before."""
        stages = nn.ModuleDict()
        channels = stem_channels
        for index, (tap, blocks) in enumerate(zip(self.taps, self.blocks_per_stage, strict=True)):
            stages[tap.name], channels = self.new_stage(index, channels, blocks)
        return stages


def keep_only(model: nn.Module, names: Sequence[str]) -> None:
    """Delete every module inside `model` but those of these names, whose own names stay."""
    for name, child in list(model.named_children()):
        inner = [each.removeprefix(f"{name}.") for each in names if each.startswith(f"{name}.")]
        if name not in names and not inner:
            delattr(model, name)  # a sequence would number the others anew at `del`
        elif name not in names:
            keep_only(child, inner)


def scaled(channels: int, width: float) -> int:
    """Return so many channels times `width`, rounded, at least 1."""
    return max(1, round(channels * width))
