"""How branches are built: the description, and the layouts it stands for as blocks and widths of each stage.

Source of the published layouts: for WRNs the network of Sun et al., CVPR 2019 (arXiv 1906.00675); for ResNets and
DenseNets the branch table of DHM (Li and Chen, CVPR 2020), whose WRN-28-10 is the same as the former; for MobileNet
that of DCM (Yao and Sun, ECCV 2020).
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from dks_study.spec.backbone import (
    BackboneSpec,
    DenseNetSpec,
    ExternalSpec,
    MobileNetSpec,
    PreActResNetSpec,
    ResNetSpec,
    WRNSpec,
    is_stage,
    kind_of,
    shallow_to_deep,
    split_tap,
    tap_position,
)
from dks_study.spec.base import MOST_LAYERS, Spec

TAP_JOINT = "+"  # between the taps of a set that is written as one value
Blocks = Annotated[tuple[Annotated[int, Field(ge=1, le=MOST_LAYERS)], ...], Field(min_length=1)]
Width = Annotated[float, Field(gt=0, le=16)]
Recipe = Literal["auto", "paper", "tail", "bottleneck", "linear"]


class Growth(NamedTuple):
    """One stage of a branch: its blocks, and its width relative to the backbone's stage at that place."""

    blocks: int
    width: float


class BranchSpec(Spec):
    """Where auxiliary classifiers attach, and how they are built. No taps: the plain backbone (baseline).

    A branch grows a stage for every stage that remains in the backbone, then a classifier. What is inside a stage grows
    what the stage's end grows.

    Attributes:
        taps: a list of names, or the names joined by + (`stage1+stage2`): one value, which an axis can choose.
        recipe: what grows at each tap. paper: the published blocks; tail: those of the backbone; bottleneck: one
            bottleneck block for each remaining down-sampling; linear: the classifier alone; auto: the first of paper,
            tail and bottleneck that there is. In transformers there are but tail, the blocks that follow, and linear,
            to which auto comes in ViT, DeiT and Swin of torchvision and timm.
        depth_factor: the fraction kept of each stage's blocks (rounded up).
        blocks: an explicit number for each remaining stage of a tap.
        width: multiplies the channels of the branch's last stage (the growth rate in DenseNets) at every tap; left out:
            the recipe's own.
        width_by_tap: the same at one tap.
    """

    taps: tuple[str, ...] = ()
    recipe: Recipe = "auto"
    depth_factor: float = Field(default=1.0, gt=0, le=1)
    blocks: dict[str, Blocks] = Field(default_factory=dict)
    width: Width | None = None
    width_by_tap: dict[str, Width] = Field(default_factory=dict)

    @field_validator("taps", mode="before")
    @classmethod
    def _taps_may_be_joined(cls, taps: object) -> object:
        parts = taps.split(TAP_JOINT) if isinstance(taps, str) else taps
        return tuple(parts) if isinstance(parts, list) else parts

    @field_validator("taps")
    @classmethod
    def _taps_are_distinct(cls, taps: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(taps)) < len(taps):
            raise ValueError("each tap carries one branch and is listed once")
        return taps

    @model_validator(mode="after")
    def _keys_go_with_the_recipe(self) -> Self:
        if not self.taps:  # an arm without branches may leave the other keys as they are
            return self
        self.check_keys(self.recipe, f"recipe {self.recipe}")
        for key, by_tap in (("blocks", self.blocks), ("width_by_tap", self.width_by_tap)):
            for tap in by_tap:
                if tap not in self.taps:
                    raise ValueError(f"{key}: must name taps that carry a branch, got {tap!r}")
        return self

    def check_keys(self, recipe: str, why: str) -> None:
        """Check that no key is given that `recipe` has no use for; `why` says where the recipe comes from.

        Raises:
            ValueError: one line that begins with the key.
        """
        given = {"depth_factor": self.depth_factor != 1, "blocks": bool(self.blocks)}
        widths = {"width": self.width is not None, "width_by_tap": bool(self.width_by_tap)}
        unused = {"bottleneck": given, "linear": {**given, **widths}}.get(recipe, {})
        for key in (key for key, is_given in unused.items() if is_given):
            raise ValueError(f"{key}: must be left out with {why}, got {getattr(self, key)!r}")


class _Published(NamedTuple):
    """A published layout: blocks by stage tapped, and the width of the last stage where just one remains."""

    blocks: Mapping[str, tuple[int, ...]]
    late_width: float


# torchvision's ResNets -> blocks of the early tap (after conv3_x) and the late one (after conv4_x).
_IMAGENET_RESNETS: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "torchvision:resnet18": ((1, 2), (2,)),
    "torchvision:resnet34": ((3, 2), (3,)),
    "torchvision:resnet50": ((3, 2), (3,)),
    "torchvision:resnet101": ((12, 2), (3,)),
    "torchvision:resnet152": ((18, 2), (3,)),
}
_EARLY_TAP_OF_DEEP_RESNETS: Mapping[int, tuple[int, ...]] = {110: (9, 9), 1202: (100, 100)}


_TRANSFORMERS = re.compile(r"(torchvision|timm):(vit|deit|swin)(\d|_)")  # they work on tokens, whatever their size


def _published(backbone: BackboneSpec, blocks: tuple[int, ...]) -> _Published:
    """Return the published layouts of a family, an empty one if there are none.

    The early tap's last stage has half of the blocks: rounded down in WRNs, up in ResNets. Sizes that were not
    published follow the same rule.
    """
    n = blocks[0]
    match backbone:
        case ResNetSpec(depth=depth):
            early = _EARLY_TAP_OF_DEEP_RESNETS.get(depth, (n, (n + 1) // 2))
            return _Published({"stage1": early, "stage2": (n,)}, late_width=2)
        case WRNSpec() | PreActResNetSpec():  # a pre-activation ResNet is a WRN of width 1
            return _Published({"stage1": (n, max(1, n // 2)), "stage2": (n,)}, late_width=2)
        case DenseNetSpec(depth=100):
            return _Published({"stage1": (16, 16), "stage2": (32,)}, late_width=3)
        case DenseNetSpec():
            return _Published({"stage1": (n, max(1, n // 2)), "stage2": (n,)}, late_width=3)
        case MobileNetSpec():
            return _Published({"stage3": (4, 2), "stage4": (2,)}, late_width=2)
        case ExternalSpec(name=name) if name in _IMAGENET_RESNETS:
            early, late = _IMAGENET_RESNETS[name]
            return _Published({"stage2": early, "stage3": late}, late_width=2)
    return _Published({}, late_width=1)


def branch_layout(
    backbone: BackboneSpec, blocks_per_stage: tuple[int, ...], branches: BranchSpec, tap: str, stage: str | None = None
) -> tuple[Growth, ...]:
    """Return the stages that the branch at `tap` grows, one for each stage that remains; `linear` grows none.

    Args:
        backbone: its family and depth choose the published layout.
        blocks_per_stage: the backbone's own blocks.
        branches: the recipe and what overrides it.
        tap: a tap of the backbone.
        stage: the stage that it ends, or the place inside one, if its name does not say so.

    Raises:
        ValueError: if the recipe has no layout for this tap, or `blocks` not one number for each remaining stage.
    """
    place = stage or tap
    remaining = blocks_per_stage[tap_position(place)[0] :]
    if branches.recipe == "linear" or not remaining:
        return ()
    blocks, late_width = _recipe(backbone, blocks_per_stage, recipe_at(backbone, branches, place), place)
    blocks = tuple(math.ceil(branches.depth_factor * n - 1e-9) for n in blocks)
    blocks = branches.blocks.get(tap, blocks)
    if len(blocks) != len(remaining):
        rule = f"must give {len(remaining)} numbers for {tap}, one for each remaining stage"
        raise ValueError(f"branches.blocks: {rule}, got {list(blocks)}")
    return _widened(blocks, branches, tap, late_width)


def bottleneck_layout(stages: int, branches: BranchSpec, tap: str) -> tuple[Growth, ...]:
    """Return what a branch of bottlenecks grows at a module, which `stages` down-samplings follow.

    Raises:
        ValueError: one line that begins with a key that bottlenecks have no use for.
    """
    try:
        branches.check_keys("bottleneck", f"recipe bottleneck, which auto comes to at {tap}")
    except ValueError as error:
        raise ValueError(f"branches.{error}") from error
    return _widened((1,) * stages, branches, tap, late_width=1.0)


def _widened(blocks: tuple[int, ...], branches: BranchSpec, tap: str, late_width: float) -> tuple[Growth, ...]:
    width = late_width if branches.width is None else branches.width
    widths = [*[1.0] * (len(blocks) - 1), branches.width_by_tap.get(tap, width)]
    return tuple(Growth(n, width) for n, width in zip(blocks, widths, strict=True))


def recipe_at(backbone: BackboneSpec, branches: BranchSpec, stage: str | None) -> str:
    """Return the recipe of the branch at a stage or inside it, or at a module of no known stage (None)."""
    if branches.recipe != "auto":
        return branches.recipe
    if stage is None:
        return "linear" if _TRANSFORMERS.match(backbone.name) else "bottleneck"
    return "paper" if split_tap(stage)[0] in _published(backbone, backbone.blocks_per_stage or (1,)).blocks else "tail"


def only_recipe(backbone: BackboneSpec, branches: BranchSpec) -> str:
    """Return the recipe that all branches have, `auto` if they have several."""
    recipes = {recipe_at(backbone, branches, tap if is_stage(tap) else None) for tap in branches.taps}
    return recipes.pop() if len(recipes) == 1 else branches.recipe


def auto_recipes(backbone: BackboneSpec, branches: BranchSpec) -> str:
    """Return in words what `auto` came to (`paper at stage1, stage2`), or nothing if no branch was left to it."""
    if branches.recipe != "auto":
        return ""
    by_recipe: dict[str, list[str]] = {}
    for tap in shallow_to_deep(branches.taps):
        recipe = recipe_at(backbone, branches, tap if is_stage(tap) else None)
        if recipe == "tail" and kind_of(backbone.name) in ("timm", "module"):
            recipe = "tail (bottleneck if its stages cannot be found)"
        by_recipe.setdefault(recipe, []).append(tap)
    return "; ".join(f"{recipe} at {', '.join(taps)}" for recipe, taps in by_recipe.items())


def _recipe(
    backbone: BackboneSpec, blocks_per_stage: tuple[int, ...], recipe: str, tap: str
) -> tuple[tuple[int, ...], float]:
    """Return the recipe's own blocks of each remaining stage, and the width of the last."""
    stage, _ = split_tap(tap)
    remaining = blocks_per_stage[tap_position(tap)[0] :]
    if recipe == "bottleneck":
        return (1,) * len(remaining), 1.0
    if recipe == "tail":
        return remaining, 1.0
    published = _published(backbone, blocks_per_stage)
    if stage not in published.blocks:
        there = f"published for {', '.join(published.blocks)}" if published.blocks else "not published"
        rule = f"must be tail, bottleneck or linear at {tap}: the paper recipe is {there} in {backbone.name}"
        raise ValueError(f"branches.recipe: {rule}, got 'paper'")
    return published.blocks[stage], published.late_width if len(remaining) == 1 else 1.0
