"""Which backbone: one description per family, told apart by `name`; each checks its own size and counts its blocks.

Taps are named `stage2` (the end of a stage) or `stage2.3` (inside it, after its third block). For the CIFAR families
they follow from the description; networks that come from elsewhere know theirs only when they are built, and can be
tapped at any module, too, by its name in `named_modules()`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from dks_study.spec.base import MOST_LAYERS, Channels, Fraction, Pretrained

EXTERNAL_NAME = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
Option = bool | int | float | str
_TAP = re.compile(r"(stage[1-9]\d*)(?:\.([1-9]\d*))?")
_MODULE = re.compile(r"\w+(\.\w+)*")
_OTHER_CLASSIFIERS = re.compile(r"(.+\.)?main|(teacher|peer\w*|ensemble)(\..+)?")  # what is reported by these names


class ResNetSpec(Pretrained):
    """CIFAR ResNet of depth 6n+2: three stages of n basic blocks (He et al., 2016).

    Attributes:
        name: the family.
        depth: layers, 6n+2: 8, 14, 20, 32, 44, 56, 110, ...
        base_channels: channels of the first stage; they double at each further one.
    """

    name: Literal["resnet"]
    depth: int = Field(ge=8, le=MOST_LAYERS)
    base_channels: Channels = 16

    @field_validator("depth")
    @classmethod
    def _depth_is_6n_plus_2(cls, depth: int) -> int:
        if depth % 6 != 2:
            raise ValueError("a CIFAR ResNet has depth 6n+2 (8, 14, 20, 32, 44, 56, 110, ...)")
        return depth

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Residual blocks of each stage."""
        return ((self.depth - 2) // 6,) * 3


class PreActResNetSpec(Pretrained):
    """Pre-activation CIFAR ResNet (He et al., 2016b): depth 6n+2 of basic blocks, 9n+2 of bottleneck blocks.

    Attributes:
        name: the family.
        depth: layers, 6n+2, or 9n+2 of bottleneck blocks.
        bottleneck: build it of bottleneck blocks.
    """

    name: Literal["preact_resnet"]
    depth: int = Field(ge=8, le=MOST_LAYERS)
    bottleneck: bool = False

    @model_validator(mode="after")
    def _depth_fits_the_blocks(self) -> Self:
        layers = 9 if self.bottleneck else 6
        if self.depth % layers != 2:
            kind = "bottleneck blocks" if self.bottleneck else "basic blocks"
            some = "11, 20, 29, 164, 1001" if self.bottleneck else "8, 14, 20, 32, 56, 110"
            raise ValueError(f"depth: must be {layers}n+2 with {kind} ({some}, ...), got {self.depth}")
        return self

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Residual blocks of each stage."""
        return ((self.depth - 2) // (9 if self.bottleneck else 6),) * 3


class WRNSpec(Pretrained):
    """Wide ResNet WRN-depth-width of depth 6n+4: three stages of n pre-activation blocks (Zagoruyko, 2016).

    Attributes:
        name: the family.
        depth: layers, 6n+4: 10, 16, 22, 28, 40, ...
        width: its factor k, as in WRN-28-10.
        dropout: inside each block, between its convolutions.
    """

    name: Literal["wrn"]
    depth: int = Field(ge=10, le=MOST_LAYERS)
    width: int = Field(ge=1, le=1024)
    dropout: Fraction = 0.0

    @field_validator("depth")
    @classmethod
    def _depth_is_6n_plus_4(cls, depth: int) -> int:
        if depth % 6 != 4:
            raise ValueError("a WRN has depth 6n+4 (10, 16, 22, 28, 40, ...)")
        return depth

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Residual blocks of each stage."""
        return ((self.depth - 4) // 6,) * 3


class DenseNetSpec(Pretrained):
    """CIFAR DenseNet of three dense blocks (Huang et al., 2017): depth 3n+4, with bottlenecks 6n+4.

    DenseNet-BC: bottleneck true, reduction 0.5.

    Attributes:
        name: the family.
        depth: layers, 3n+4, or 6n+4 with bottlenecks.
        growth: channels that each layer adds.
        bottleneck: a 1x1 convolution before each 3x3.
        reduction: the fraction of channels that a transition keeps.
    """

    name: Literal["densenet"]
    depth: int = Field(ge=7, le=MOST_LAYERS)
    growth: Channels = 12
    bottleneck: bool = False
    reduction: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _depth_fits_the_layers(self) -> Self:
        if self.depth % (3 * self._convolutions) != 4 % (3 * self._convolutions) or not self.blocks_per_stage[0]:
            some = "6n+4 with bottlenecks (10, 40, 100, ...)" if self.bottleneck else "3n+4 (7, 10, 40, 100, ...)"
            raise ValueError(f"depth: must be {some}, got {self.depth}")
        return self

    @property
    def _convolutions(self) -> int:
        return 2 if self.bottleneck else 1

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Dense layers of each stage."""
        return ((self.depth - 4) // (3 * self._convolutions),) * 3


class MobileNetSpec(Pretrained):
    """MobileNet v1 (Howard et al., 2017) with the stem at full resolution, for small images.

    Attributes:
        name: the family.
        width: its alpha: multiplies all channels.
    """

    name: Literal["mobilenet"]
    width: float = Field(default=1.0, gt=0, le=4)

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Depthwise-separable convolutions of each stage."""
        return (1, 2, 2, 6, 2)


class VGGSpec(Pretrained):
    """VGG with batch norm and one linear layer, for small images (Simonyan and Zisserman, 2015).

    Attributes:
        name: the family.
        depth: layers: 11, 13, 16 or 19.
    """

    name: Literal["vgg_bn"]
    depth: Literal[11, 13, 16, 19] = 16

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Convolutions of each stage."""
        return {11: (1, 1, 2, 2, 2), 13: (2,) * 5, 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[self.depth]


class ExternalSpec(Pretrained):
    """A network that is built elsewhere: `torchvision:NAME`, `timm:NAME`, or `package.module:callable` of your own.

    Attributes:
        name: where it comes from, and what it is called there.
        options: keyword arguments of its constructor.
        output: which of several values that it returns are the logits, by position or name; left out: the only one of
            shape [B, classes].
    """

    name: str = Field(pattern=EXTERNAL_NAME)
    options: dict[str, Option] = Field(default_factory=dict)
    output: int | str | None = None

    @field_validator("options")
    @classmethod
    def _options_are_free(cls, options: dict[str, Option]) -> dict[str, Option]:
        if taken := sorted(
            {"weights", "pretrained", "num_classes", "in_chans", "in_channels", "classes"} & set(options)
        ):
            raise ValueError(
                f"{', '.join(taken)} cannot be set: weights are backbone.weights, channels and classes the data's"
            )
        return options

    @property
    def blocks_per_stage(self) -> None:
        """Not known before the network is built."""
        return None


EXTERNAL_KINDS = ("torchvision", "timm", "module")


def kind_of(name: str) -> str:
    """Return which kind of backbone `name` is: a family's own name, or torchvision, timm or module."""
    origin, colon, _ = name.partition(":")
    return name if not colon else origin if origin in ("torchvision", "timm") else "module"


def _kind(value: object) -> str | None:
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
    return None if name is None else kind_of(str(name))


BackboneSpec = Annotated[
    Annotated[ResNetSpec, Tag("resnet")]
    | Annotated[PreActResNetSpec, Tag("preact_resnet")]
    | Annotated[WRNSpec, Tag("wrn")]
    | Annotated[DenseNetSpec, Tag("densenet")]
    | Annotated[MobileNetSpec, Tag("mobilenet")]
    | Annotated[VGGSpec, Tag("vgg_bn")]
    | Annotated[ExternalSpec, Tag("torchvision")]
    | Annotated[ExternalSpec, Tag("timm")]
    | Annotated[ExternalSpec, Tag("module")],
    Discriminator(_kind),
]
# How `backbone.name` can be written.
BACKBONES = (
    "resnet",
    "preact_resnet",
    "wrn",
    "densenet",
    "mobilenet",
    "vgg_bn",
    "torchvision:NAME",
    "timm:NAME",
    "package.module:callable",
)


def split_tap(tap: str) -> tuple[str, int | None]:
    """Split `stage2.3` into ('stage2', 3) and `stage2` into ('stage2', None).

    Raises:
        ValueError: if `tap` is not written like that.
    """
    if not (match := _TAP.fullmatch(tap)):
        raise ValueError(f"branches.taps: a tap is written stage2, or stage2.3 for inside a stage, got {tap!r}")
    return match[1], int(match[2]) if match[2] else None


def is_stage(tap: str) -> bool:
    """Is `tap` written like a stage or a place inside one, rather than like any other module?"""
    return _TAP.fullmatch(tap) is not None


def check_module_name(tap: str) -> None:
    """Check that `tap` can be the name of a module, and of a classifier of its own.

    Raises:
        ValueError: one line that names the rule.
    """
    if not _MODULE.fullmatch(tap):
        raise ValueError(f"branches.taps: a tap is a stage (stage2, stage2.3) or a module (layer2.0), got {tap!r}")
    if _OTHER_CLASSIFIERS.fullmatch(tap):
        raise ValueError(f"branches.taps: main, teacher, peer and ensemble name other classifiers, got {tap!r}")


def shallow_to_deep(taps: Iterable[str]) -> tuple[str, ...]:
    """Return taps in order: stages by their number; others as they are given, since only the network knows."""
    given = tuple(taps)
    return tuple(sorted(given, key=tap_position)) if all(map(is_stage, given)) else given


def tap_position(tap: str) -> tuple[int, float]:
    """Return what sorts taps from shallow to deep: the stage's number and the block's (the stage's end last)."""
    stage, block = split_tap(tap)
    return int(stage.removeprefix("stage")), math.inf if block is None else block


def check_tap(name: str, blocks_per_stage: tuple[int, ...], tap: str) -> None:
    """Check that `tap` is in a backbone with so many blocks in each stage, and not its very end.

    Raises:
        ValueError: one line that lists the taps there are.
    """
    number, block = tap_position(tap)
    stages = len(blocks_per_stage)
    if not (number < stages if block == math.inf else number <= stages and block < blocks_per_stage[number - 1]):
        ends = ", ".join(f"stage{i + 1}" for i in range(stages - 1))
        inner = [f"stage{i + 1}.1 to .{n - 1}" for i, n in enumerate(blocks_per_stage) if n > 1]
        inside = f"; inside stages: {', '.join(inner)}" if inner else ""
        raise ValueError(f"branches.taps: must be taps of {name} ({ends}{inside}), got {tap!r}")
