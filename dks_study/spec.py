"""The frozen, validated description of one training run: TrialSpec and its sections.

Each component owns its section and checks itself; every message states the rule. Percentages are named as such,
schedules are fractions of the epochs, so that a shorter search trains on the same shape of schedule.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, field_validator, model_validator

from dks_study.backbone_spec import TAPS, BackboneSpec
from dks_study.data_spec import DataSpec
from dks_study.pairing import SCHEMES, Pairing, pairing_matrix, parse_pair
from dks_study.spec_base import Fraction, Seed, Spec

MAIN = "main"
Scalar = bool | int | float | str
Setting = Mapping[str, Scalar]


class BranchSpec(Spec):
    """Where auxiliary classifiers attach, and how they are built. No taps: the plain backbone (baseline)."""

    taps: tuple[str, ...] = ()
    recipe: Literal["paper", "linear"] = "paper"

    @field_validator("taps")
    @classmethod
    def _taps_are_distinct(cls, taps: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(taps)) < len(taps):
            raise ValueError("each tap carries one branch and is listed once")
        return taps


def _check_pairing(value: object) -> object:
    if isinstance(value, str):
        if value not in SCHEMES:
            raise ValueError(f"the rule is one of {', '.join(SCHEMES)}, or a list of 'teacher>student' pairs")
        return value
    if isinstance(value, list | tuple) and all(isinstance(pair, str) for pair in value):
        for pair in value:
            parse_pair(pair)
        return tuple(value)
    if isinstance(value, dict) and all(_is_weight(weight) for weight in value.values()):
        for pair in value:
            parse_pair(pair)
        return {pair: float(weight) for pair, weight in value.items()}
    raise ValueError("the rule is a scheme's name, a list of 'teacher>student' pairs, or a weight >= 0 for each pair")


def _as_it_is(value: object) -> object:
    return value  # pydantic's own serialiser of the union warns at a tuple


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


Weight = Annotated[float, Field(ge=0)]


class LossSpec(Spec):
    """Supervised terms plus weighted KL(teacher || student) terms; every weight is 1 in the paper.

    The defaults are the paper's. `branch_schedule` says what becomes of the branches' weights in training: constant,
    falling linearly to 0 (CNDS), or 0 wherever a branch's cross-entropy is below `branch_threshold` nats (DSN).
    `synergy_warmup` is the fraction of training over which the synergy weight rises from 0. `pair_dropout` is the
    probability with which each pair is left out of a step.
    """

    pairing: Annotated[Pairing, PlainValidator(_check_pairing), PlainSerializer(_as_it_is)] = "dense"
    synergy_weight: Weight = 1.0
    top_down_weight: Weight = 1.0
    bottom_up_weight: Weight = 1.0
    pair_reduction: Literal["sum", "mean"] = "sum"
    pair_dropout: Fraction = 0.0
    synergy_warmup: Fraction = 0.0
    detach_teacher: bool = True
    temperature: float = Field(default=1.0, gt=0)
    temperature_squared: bool = False
    label_smoothing: Fraction = 0.0
    branch_weight: Weight = 1.0
    branch_weight_by_tap: dict[str, Weight] = Field(default_factory=dict)
    branch_schedule: Literal["constant", "linear", "threshold"] = "constant"
    branch_threshold: Weight = 0.0
    smoothing: float = Field(default=0.0, ge=0, le=1e-3)  # the authors' code adds 1e-8 to every probability

    @model_validator(mode="after")
    def _threshold_goes_with_its_schedule(self) -> Self:
        if (self.branch_schedule == "threshold") != (self.branch_threshold > 0):
            raise ValueError(
                "branch_threshold: must be above 0 with branch_schedule threshold and left out otherwise,"
                f" got {self.branch_threshold:g} with {self.branch_schedule}"
            )
        return self


class OptimiserSpec(Spec):
    """SGD with momentum; `milestones` and the cosine are in fractions of the trial's own epochs."""

    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=5e-4, ge=0)
    batch_size: int = Field(default=128, ge=2)
    keep_partial_batch: bool = False
    schedule: Literal["multistep", "cosine"] = "multistep"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.3, 0.6, 0.8)
    gamma: float = Field(default=0.2, gt=0, le=1)

    @field_validator("milestones")
    @classmethod
    def _milestones_rise(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError("milestones are fractions of the epochs in rising order")
        return milestones

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: needs a momentum above 0, got momentum 0")
        return self


class ResourceSpec(Spec):
    """What one trial gets. workers 0: in the trial's own process; N: a Ray Train group of N workers (DDP)."""

    workers: int = Field(default=0, ge=0)
    cpus_per_worker: int = Field(default=1, ge=1)
    gpus_per_worker: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _whole_gpus_for_groups(self) -> Self:
        if self.workers > 1 and self.gpus_per_worker % 1:
            raise ValueError(f"gpus_per_worker: must be 0 or 1 with several workers (NCCL), got {self.gpus_per_worker}")
        if self.gpus_per_worker > 1:
            raise ValueError(f"gpus_per_worker: must be at most 1 (use more workers), got {self.gpus_per_worker}")
        return self

    @property
    def cpus(self) -> int:
        """CPUs that one trial takes."""
        return max(1, self.workers) * self.cpus_per_worker

    @property
    def gpus(self) -> float:
        """GPUs that one trial takes."""
        return max(1, self.workers) * self.gpus_per_worker


class RunSpec(Spec):
    """Everything about a training run but its seed and its part in the study."""

    backbone: BackboneSpec
    data: DataSpec
    branches: BranchSpec = BranchSpec()
    loss: LossSpec = LossSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    epochs: int = Field(ge=1)
    resources: ResourceSpec = ResourceSpec()

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        known = TAPS[self.backbone.name]
        for tap in self.branches.taps:
            if tap not in known:
                raise ValueError(
                    f"branches.taps: must be taps of {self.backbone.name} ({', '.join(known)}), got {tap!r}"
                )
        try:
            pairing_matrix(self.loss.pairing, self.classifiers)
        except ValueError as error:
            raise ValueError(f"loss.pairing: {error}") from error
        for tap in self.loss.branch_weight_by_tap:
            if tap not in self.branches.taps:
                raise ValueError(f"loss.branch_weight_by_tap: must name taps that carry a branch, got {tap!r}")
        return self

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of all classifiers, shallow to deep, `main` last."""
        known = TAPS[self.backbone.name]
        return (*sorted(self.branches.taps, key=known.index), MAIN)


class TrialSpec(RunSpec):
    """The whole truth about one training run; only a `confirm` trial ever looks at the test set."""

    phase: Literal["search", "confirm"]
    seed: Seed
