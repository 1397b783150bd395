"""Which backbone: one description per family, told apart by `name`; each checks its own depth and names its taps."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from dks_study.spec_base import Fraction, Spec


class ResNetSpec(Spec):
    """CIFAR ResNet of depth 6n+2: three stages of n basic blocks (He et al., 2016)."""

    name: Literal["resnet"]
    depth: int = Field(ge=8)
    base_channels: int = Field(default=16, ge=1)

    @field_validator("depth")
    @classmethod
    def _depth_is_6n_plus_2(cls, depth: int) -> int:
        if depth % 6 != 2:
            raise ValueError("a CIFAR ResNet has depth 6n+2 (8, 14, 20, 32, 44, 56, 110, ...)")
        return depth


class WRNSpec(Spec):
    """Wide ResNet WRN-depth-width of depth 6n+4: three stages of n pre-activation blocks (Zagoruyko, 2016)."""

    name: Literal["wrn"]
    depth: int = Field(ge=10)
    width: int = Field(ge=1)
    dropout: Fraction = 0.0

    @field_validator("depth")
    @classmethod
    def _depth_is_6n_plus_4(cls, depth: int) -> int:
        if depth % 6 != 4:
            raise ValueError("a WRN has depth 6n+4 (10, 16, 22, 28, 40, ...)")
        return depth


BackboneSpec = Annotated[ResNetSpec | WRNSpec, Field(discriminator="name")]
# The stages of each family that a branch can be attached to: all but the last, which `main` follows.
TAPS: Mapping[str, tuple[str, ...]] = {"resnet": ("stage1", "stage2"), "wrn": ("stage1", "stage2")}
