"""Frozen, validated descriptions: one training run (TrialSpec) and one study (StudySpec).

Each component owns its section and checks itself; every message states the rule. Percentages are named as such,
schedules are fractions of the epochs, so that a shorter search trains on the same shape of schedule.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import reduce
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from dks_study.pairing import SCHEMES, Pairing, pairing_matrix, parse_pair

MAIN = "main"
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Scalar = bool | int | float | str
Setting = Mapping[str, Scalar]


class Spec(BaseModel):
    """Base of all descriptions: frozen, strict, unknown keys refused, hashable by content."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def content_hash(self) -> str:
        """Return 10 hex digits that depend on every value in the description and on nothing else."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


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


class DataSpec(Spec):
    """The data set, how it is split, and what is done to the training images and labels.

    `digits` ships with scikit-learn; the others are read by torchvision from `root` (downloaded only if asked).
    """

    name: Literal["digits", "cifar10", "cifar100", "fashion_mnist"]
    root: str | None = None
    download: bool = False
    validation_fraction: float = Field(default=0.1, gt=0, le=0.5)
    split_seed: Seed = 0
    label_noise: Fraction = 0.0
    flip: bool = False
    crop_pad_pixels: int = Field(default=0, ge=0, le=16)

    @model_validator(mode="after")
    def _files_have_a_root(self) -> Self:
        if self.name != "digits" and self.root is None:
            raise ValueError(f"root: must name the folder with the files of {self.name}, got null")
        if self.name == "digits" and self.root is not None:
            raise ValueError(f"root: must be left out for digits, which ships with scikit-learn, got {self.root!r}")
        return self


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
    raise ValueError("the rule is a scheme's name or a list of 'teacher>student' pairs")


class LossSpec(Spec):
    """Supervised terms plus weighted KL(teacher || student) terms; every weight is 1 in the paper."""

    pairing: Annotated[Pairing, BeforeValidator(_check_pairing)] = "dense"
    synergy_weight: float = Field(default=1.0, ge=0)
    branch_weight: float = Field(default=1.0, ge=0)
    branch_weight_by_tap: dict[str, Annotated[float, Field(ge=0)]] = {}
    temperature: float = Field(default=1.0, gt=0)


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
            raise ValueError(f"gpus_per_worker: must be 0 or 1 with several workers (NCCL refuses two on a GPU), got {self.gpus_per_worker}")
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
                raise ValueError(f"branches.taps: must be taps of {self.backbone.name} ({', '.join(known)}), got {tap!r}")
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


class AxisSpec(Spec):
    """One searched value: exactly one of float, int (low, high; both included) or choice, for some arms or all."""

    float_range: tuple[float, float] | None = Field(default=None, alias="float")
    int_range: tuple[int, int] | None = Field(default=None, alias="int")
    choice: tuple[Scalar, ...] | None = Field(default=None, min_length=2)
    log: bool = False
    arms: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_range(self) -> Self:
        if sum(kind is not None for kind in (self.float_range, self.int_range, self.choice)) != 1:
            raise ValueError("an axis has exactly one of float: [low, high], int: [low, high], choice: [...]")
        bounds = self.float_range or self.int_range
        if bounds and not bounds[0] < bounds[1]:
            raise ValueError(f"low must be below high, got {list(bounds)}")
        if self.log and (bounds is None or bounds[0] <= 0):
            raise ValueError("log: true needs a range whose low end is above 0")
        return self

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The values whose validity stands for that of the whole axis."""
        return self.float_range or self.int_range or self.choice or ()

    def contains(self, value: object) -> bool:
        """Whether a search over this axis could suggest `value`."""
        if self.choice is not None:
            return value in self.choice
        low, high = self.float_range or self.int_range or (0, 0)
        return isinstance(value, int | float) and low <= value <= high


class SearchSpec(Spec):
    """The search of each arm: as many trials, of as many epochs, in every arm. Trial 0 is the arm as written."""

    trials: int = Field(default=0, ge=0)
    epochs: int = Field(default=1, ge=1)
    seed: Seed = 0
    parallel: int = Field(default=1, ge=1)
    axes: dict[str, AxisSpec] = {}


class TableSpec(Spec):
    """The table that answers the question: one row per arm, each compared with the reference arm."""

    title: str
    reference: str


# What no arm and no axis may change: a table compares equal budgets on the same split.
COMMON = {"epochs", "resources", "data.name", "data.root", "data.validation_fraction", "data.split_seed"}


class StudySpec(Spec):
    """A question and its scale: arms (dotted overrides of `trial`), search, report seeds, table."""

    name: Name
    question: str = Field(min_length=1)
    profile: Name
    trial: RunSpec
    arms: dict[Name, dict[str, Any]] = Field(min_length=1)
    search: SearchSpec = SearchSpec()
    report_seeds: tuple[Seed, ...] = Field(min_length=1)
    max_failures: int = Field(default=1, ge=0)
    table: TableSpec

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if len(set(self.report_seeds)) < len(self.report_seeds):
            raise ValueError("report_seeds: each seed is listed once")
        if self.search.trials and self.search.seed in self.report_seeds:
            raise ValueError(f"search.seed: must not be one of report_seeds, got {self.search.seed}")
        if self.table.reference not in self.arms:
            raise ValueError(f"table.reference: must be an arm ({', '.join(self.arms)}), got {self.table.reference!r}")
        for key, axis in self.search.axes.items():
            for arm in axis.arms or ():
                if arm not in self.arms:
                    raise ValueError(f"search.axes.{key}.arms: must be arms ({', '.join(self.arms)}), got {arm!r}")
        return self

    @model_validator(mode="after")
    def _budgets_and_splits_are_common(self) -> Self:
        keys = [(f"arms.{arm}", key) for arm, settings in self.arms.items() for key in settings]
        keys += [("search.axes", key) for key in self.search.axes]
        for section, key in keys:
            if key in COMMON or key.split(".")[0] in COMMON:
                raise ValueError(f"{section}.{key}: is the same for the whole study, set trial.{key} instead, got it here")
        return self

    def axes_of(self, arm: str) -> dict[str, AxisSpec]:
        """Return the axes that are searched in `arm`, by dotted key."""
        return {key: axis for key, axis in self.search.axes.items() if axis.arms is None or arm in axis.arms}


def arm_run(study: StudySpec, arm: str, setting: Setting, epochs: int | None = None) -> RunSpec:
    """Return the run of `arm` with the searched values of `setting` (dotted keys) and, if given, other epochs.

    Raises:
        pydantic.ValidationError: if the values do not make a valid run.
        KeyError: if a dotted key leads through something that is not a section.
    """
    return RunSpec.model_validate_json(json.dumps(_arm_values(study, arm, setting, epochs)))


def arm_trial(
    study: StudySpec, arm: str, setting: Setting, *, epochs: int, phase: Literal["search", "confirm"], seed: int
) -> TrialSpec:
    """Return the whole truth about one trial of `arm`; raises as `arm_run` does."""
    values = _arm_values(study, arm, setting, epochs) | {"phase": phase, "seed": seed}
    return TrialSpec.model_validate_json(json.dumps(values))


def default_setting(study: StudySpec, arm: str) -> dict[str, Scalar]:
    """Return the arm's own value for each of its axes: its search trial 0."""
    values = arm_run(study, arm, {}).model_dump(mode="json")
    return {key: reduce(lambda inner, part: inner[part], key.split("."), values) for key in study.axes_of(arm)}


def _arm_values(study: StudySpec, arm: str, setting: Setting, epochs: int | None) -> dict[str, Any]:
    # Only what was written: defaults of one backbone family must not follow an arm into another.
    values: dict[str, Any] = study.trial.model_dump(mode="json", exclude_unset=True, by_alias=True)
    for dotted, value in {**study.arms[arm], **setting}.items():
        _set_dotted(values, dotted, value)
    if epochs is not None:
        values["epochs"] = epochs
    return values


def _set_dotted(values: dict[str, Any], dotted: str, value: object) -> None:
    *sections, last = dotted.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise KeyError(f"{dotted}: {section} must be a section of keys, got {inner!r}")
        values = inner
    values[last] = value
