"""A network from torchvision, timm or the user's own module as a backbone: walked step by step, otherwise untouched."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from dks_study.method.backbones.layout import FUNCTIONS, PROBE_PIXELS, Layout, Steps, module_of, run, stride_of, walked
from dks_study.method.backbones.origins import copied_hollow, is_torchvision_resnet, layout_of, make, renewed
from dks_study.method.backbones.staged import Tap, Walked
from dks_study.spec.backbone import ExternalSpec, split_tap

RGB = 3


class External(Walked):
    """Walks `model`, whose weights and code stay its own. Grey images are shown to torchvision's networks as RGB.

    Attributes:
        model: the network, as its constructor made it.
    """

    def __init__(self, spec: ExternalSpec, in_channels: int, classes: int, model: nn.Module | None = None) -> None:
        """Make the network, unless it is given as `model`, and find its stages; it draws from the global CPU generator.

        Raises:
            LayoutError: one line that names the key, if its stages cannot be found.
            ValueError: the same, if it cannot be made.
        """
        super().__init__()
        self.spec: ExternalSpec = spec
        self.classes, self.is_given = classes, model is not None
        self.in_channels = channels_shown(spec, in_channels) if model is None else in_channels
        self.model = make(spec, self.in_channels, classes) if model is None else model
        empty = copied_hollow(spec, self.model)
        self.layout = layout_of(spec, self.model, empty, self.in_channels, classes)
        self.blocks_per_stage = tuple(len(stage) for stage in self.layout.stages)
        self.taps, self.inner_taps = self._trace(empty)

    def plain(self) -> nn.Module:
        """Return the network as its constructor made it."""
        return self.model

    def walk(self, images: Tensor, inner: Collection[str] = ()) -> dict[str, Tensor]:
        """Return feature maps by tap, shallow to deep: of every stage's end, and of the inner taps named."""
        if images.shape[1] != self.in_channels:
            images = images.expand(-1, self.in_channels, -1, -1)
        return walked(self.model, self.layout, images, inner)

    def module_at(self, tap: str) -> str | None:
        """Return the name of the last module of a stage or block; None if a function comes behind it."""
        stage, block = split_tap(tap)
        step = self.layout.stages[int(stage.removeprefix("stage")) - 1][-1 if block is None else block - 1][-1]
        return None if step in FUNCTIONS else step

    def steps_to(self, tap: str) -> tuple[str, ...]:
        """Return the steps of the stem and of all blocks up to `tap`."""
        blocks = self._cut_layout(tap).stages
        return (*self.layout.stem, *(step for stage in blocks for block in stage for step in block))

    def cut(self, tap: str) -> None:
        """Drop everything that runs behind `tap`, for good: `walk` then ends there."""
        super().cut(tap)
        self.layout = self._cut_layout(tap)

    def _cut_layout(self, tap: str) -> Layout:
        stage, block = split_tap(tap)
        number = int(stage.removeprefix("stage"))
        stages = self.layout.stages[:number]
        return Layout(self.layout.stem, (*stages[:-1], stages[-1][:block]), ())

    def classify(self, features: Tensor) -> Tensor:
        """Return logits [B, classes] of the last stage's output."""
        return run(self.model, self.layout.head, features)

    def new_tail(self, first: int, channels: int, growth: Sequence[tuple[int, float]]) -> list[nn.Module]:
        """Return stages and a head with fresh weights: of a second network that the same constructor makes, or of a
        copy of a given one whose modules draw theirs anew.

        ResNets of torchvision are built block by block, in any width; other networks are copied, a stage's first
        blocks and whatever changes the shape first. A 1x1 convolution leads to them where the channels differ.

        Raises:
            ValueError: one line, if a copied stage is asked for in another width or too short, or cannot be renewed.
        """
        parts: list[nn.Module] = []
        fresh = renewed(self.model) if self.is_given else make(self.spec, self.in_channels, self.classes)
        if is_torchvision_resnet(fresh):
            for index, (blocks, width) in enumerate(growth, start=first):
                parts.append(_resnet_stage(fresh, index, channels, blocks, width))
                channels = _out_channels(parts[-1])
            return [*parts, self.new_head(channels)]
        if channels != (wanted := self.taps[first - 1].channels):
            parts.append(nn.Sequential(nn.Conv2d(channels, wanted, 1, bias=False), nn.BatchNorm2d(wanted), nn.ReLU()))
        for index, (blocks, width) in enumerate(growth, start=first):
            if width != 1:
                rule = f"must be 1 or left out: the stages of {self.spec.name} are copied"
                raise ValueError(f"branches.width: {rule}, got {width:g}")
            parts.append(_sequence(fresh, self._shortened(index, blocks)))
        return [*parts, _sequence(fresh, self.layout.head)]

    def new_head(self, channels: int) -> nn.Module:
        """Return global average pooling and a linear layer."""
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, self.classes))

    def _trace(self, empty: nn.Module) -> tuple[tuple[Tap, ...], tuple[Tap, ...]]:
        """Return the taps at the ends of the stages and those inside, by their shapes in a copy without data."""
        images = torch.empty(1, self.in_channels, PROBE_PIXELS, PROBE_PIXELS, device="meta")  # float32, as is what runs
        inside = [f"stage{s}.{b}" for s, n in enumerate(self.blocks_per_stage, start=1) for b in range(1, n)]
        with torch.no_grad():
            features = walked(empty, self.layout, images, inside)
        taps = {name: Tap(name, value.shape[1], stride_of(value)) for name, value in features.items()}
        return tuple(tap for name, tap in taps.items() if "." not in name), tuple(taps[name] for name in inside)

    def _shortened(self, index: int, blocks: int) -> Steps:
        """Return the steps of so many blocks of a stage: all that change the shape, and the first of the others."""
        stage, number = self.layout.stages[index], index + 1
        shapes = {tap.name: (tap.channels, tap.stride) for tap in (*self.taps, *self.inner_taps)}
        before = shapes[f"stage{index}"]
        needed: list[int] = []
        spare: list[int] = []
        for position in range(len(stage)):
            after = shapes[f"stage{number}" if position == len(stage) - 1 else f"stage{number}.{position + 1}"]
            (needed if after != before else spare).append(position)
            before = after
        if not len(needed) <= blocks <= len(stage):
            rule = f"stage{number} of {self.spec.name} has {len(stage)} blocks, {len(needed)} of which change the shape"
            raise ValueError(f"branches.blocks: {rule}, got {blocks}")
        kept = sorted(needed + spare[: blocks - len(needed)])
        return tuple(step for position in kept for step in stage[position])


def channels_shown(spec: ExternalSpec, in_channels: int) -> int:
    """Return how many channels the network is shown, for images of `in_channels`: torchvision's see grey as RGB.

    Raises:
        ValueError: one line, if it takes no such images.
    """
    if not spec.name.startswith("torchvision:"):
        return in_channels
    if in_channels not in (1, RGB):
        raise ValueError(f"backbone.name: torchvision's networks take 1 or 3 channels, got {in_channels}")
    return RGB


def _sequence(model: nn.Module, steps: Steps) -> nn.Sequential:
    return nn.Sequential(*(module_of(model, step) for step in steps))


def _resnet_stage(model: ResNet, index: int, in_channels: int, blocks: int, width: float) -> nn.Sequential:
    """Return blocks of the network's own kind, Kaiming-normal as in torchvision; the first one halves, save in stage 0.

    The channels, not the inner width of a bottleneck alone, are `width` times those of the backbone's stage.
    """
    block = type(model.layer1[0])
    planes, stride = max(1, round(64 * 2**index * width)), 1 if index == 0 else 2
    out_channels = planes * block.expansion
    shape = {"groups": model.groups, "base_width": model.base_width}
    shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
    needs_shortcut = stride != 1 or in_channels != out_channels
    stage = nn.Sequential(
        block(in_channels, planes, stride, shortcut if needs_shortcut else None, **shape),
        *(block(out_channels, planes, **shape) for _ in range(blocks - 1)),
    )
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return stage


def _out_channels(stage: nn.Module) -> int:
    return [module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)][-1].num_features
