"""How an arm is searched: axes with conditions and ties, constraints, sampler, objectives, early stopping."""

import math
from statistics import fmean
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dks_study.spec.base import MOST_EPOCHS, MOST_TRIALS, Seed, Spec, Trials
from dks_study.spec.constraints import parse_constraint
from dks_study.spec.objectives import ACCURACY, MAXIMISED
from dks_study.spec.trial import Scalar

EDGE = 0.05  # of a range (of its logarithm where it is searched so): what is this near to an end lies at its edge
LENGTH = "epochs"  # the key of an axis that is the length of training

_Whole = Annotated[int, Field(ge=-(10**12), le=10**12)]  # whole as a float, too, which samplers work with
Condition = Scalar | tuple[Scalar, ...]
_ONE_OF = "an axis has exactly one of float: [low, high], int: [low, high], choice: [...], same_as: another axis"


class AxisSpec(Spec):
    """One searched value, for some arms or all: a range (both ends included), choices, or that of another axis.

    Attributes:
        float: a range of numbers, `[low, high]`.
        int: a range of whole numbers, `[low, high]`.
        choice: a list of values.
        same_as: another axis, whose value this key always takes.
        log: search the range by its logarithm.
        arms: the arms in which it is searched; left out: all.
        when: other keys' values (or lists of them): where a run has others, the axis is left out of the setting.
        role: scientific: part of what an arm is about. nuisance: whatever must be tuned before arms can be compared
            (learning rate, training length, decay): searched in every arm, with the same budget.
        widen_to: how far a range reaches in the second half of a search whose best trial until then is at its edge.
    """

    float_range: tuple[float, float] | None = Field(default=None, alias="float")
    int_range: tuple[_Whole, _Whole] | None = Field(default=None, alias="int")
    choice: tuple[Scalar, ...] | None = Field(default=None, min_length=2)
    same_as: str | None = None
    log: bool = False
    arms: tuple[str, ...] | None = None
    when: dict[str, Condition] = Field(default_factory=dict)
    role: Literal["scientific", "nuisance"] = "scientific"
    widen_to: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _one_range(self) -> Self:
        if sum(kind is not None for kind in (self.float_range, self.int_range, self.choice, self.same_as)) != 1:
            raise ValueError(_ONE_OF)
        bounds = self.float_range or self.int_range
        if bounds and not bounds[0] < bounds[1]:
            raise ValueError(f"low must be below high, got {list(bounds)}")
        if self.log and (bounds is None or bounds[0] <= 0):
            raise ValueError("log: true needs a range whose low end is above 0")
        if self.choice is not None and len(set(map(repr, self.choice))) < len(self.choice):
            raise ValueError(f"choice: each value is listed once, got {list(self.choice)}")
        if self.same_as is not None and self.when:
            raise ValueError("when: belongs to the axis that same_as names, got both")
        return self

    @model_validator(mode="after")
    def _nuisance_is_everywhere(self) -> Self:
        for name, limit in (("arms", self.arms), ("when", self.when), ("same_as", self.same_as)):
            if self.role == "nuisance" and limit:
                rule = f"must be scientific with {name}: a nuisance axis is tuned in every arm"
                raise ValueError(f"role: {rule}, got nuisance")
        return self

    @model_validator(mode="after")
    def _widens(self) -> Self:
        bounds, wide = self.float_range or self.int_range, self.widen_to
        if wide is None:
            return self
        if bounds is None or not (wide[0] <= bounds[0] and bounds[1] <= wide[1] and wide != bounds):
            raise ValueError(f"widen_to: must reach beyond a range, float or int, got {list(wide)}")
        if self.log and wide[0] <= 0:
            raise ValueError(f"widen_to: must stay above 0 with log: true, got {list(wide)}")
        if self.int_range and not all(float(end).is_integer() for end in wide):
            raise ValueError(f"widen_to: must be whole numbers on an int axis, got {list(wide)}")
        return self

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The values whose validity stands for that of the whole axis."""
        return self.float_range or self.int_range or self.choice or ()

    @property
    def values(self) -> "tuple[Scalar, ...] | range":
        """All values of a finite axis; none of a continuous or tied one."""
        return range(self.int_range[0], self.int_range[1] + 1) if self.int_range else self.choice or ()

    def contains(self, value: object) -> bool:
        """Whether a search over this axis could suggest `value`."""
        if self.choice is not None:
            return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.choice)
        low, high = self.float_range or self.int_range or (0, 0)
        number = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        return number and (not self.int_range or float(value).is_integer())  # type: ignore[arg-type]

    @property
    def mean(self) -> float:
        """Mean of a range's ends, or of numeric choices."""
        return fmean(float(end) for end in self.ends)

    def edge(self, value: Scalar) -> Literal["low", "high"] | None:
        """Return the end of a range that `value` lies at (its outer twentieth), or of numeric choices; None: inside."""
        numbers = [float(end) for end in self.ends if isinstance(end, int | float) and not isinstance(end, bool)]
        if isinstance(value, str) or not numbers or len(numbers) < len(self.ends):
            return None
        scale = math.log if self.log else float
        low, high, at = scale(min(numbers)), scale(max(numbers)), scale(value)
        margin = 0.0 if self.choice else EDGE * (high - low)
        return "low" if at <= low + margin else "high" if at >= high - margin else None

    @property
    def widened(self) -> "AxisSpec":
        """The axis with the range that `widen_to` allows."""
        if self.widen_to is None:
            return self
        low, high = self.widen_to
        changed = {"float_range": (low, high)} if self.float_range else {"int_range": (int(low), int(high))}
        return self.model_copy(update={**changed, "widen_to": None})

    def wants(self, key: str, value: object) -> bool:
        """Whether this axis is searched where `key` has `value`, as far as its condition speaks of `key`."""
        wanted = self.when.get(key, ())
        return value in (wanted if isinstance(wanted, tuple) else (wanted,))


def _checked(text: str) -> str:
    parse_constraint(text)
    return text


class EarlyStoppingSpec(Spec):
    """When a search trial is given up: it is compared with the arm's own trials of earlier groups alone.

    Attributes:
        kind: asha keeps the best 1/reduction at epochs grace, grace * reduction, ...; hyperband spreads the trials
            over brackets with rising grace; median stops what is below the median of three or more others.
        grace_epochs: the first epoch after which a trial may be stopped.
        reduction: of asha and hyperband.
    """

    kind: Literal["none", "asha", "median", "hyperband"] = "none"
    grace_epochs: int = Field(default=1, ge=1, le=MOST_EPOCHS)
    reduction: int = Field(default=3, ge=2, le=MOST_TRIALS)


Sampler = Literal["auto", "tpe", "gp", "cmaes", "qmc", "random", "nsga2", "grid"]


class SearchSpec(Spec):
    """The search of each arm: as many trials in every arm, each as long as what it chooses for.

    Trial 0 is the arm as written. The best `finalists` settings, the arm as written always among them, are trained on
    `race_seeds` further seeds; of those that beat the arm as written by more than the standard error of the paired
    difference the best mean is chosen, else the arm as written.

    Attributes:
        trials: left out, every cell of a finite space is tried once.
        epochs: read from studies of the old protocol alone, whose search trials were shorter than what they chose for.
        finalists: settings of an arm that are raced; 1: the best of the search is chosen as it is.
        race_seeds: further seeds for each finalist; never a report seed.
        repeats: independent searches of each arm, over which the report seeds are spread; with table.looks at most.
        seed: of the searches and their trials; never a report seed.
        sampler: auto: every cell of a finite space, else tpe, and nsga2 for several objectives.
        axes: what is searched, by dotted key of `trial` (`optimiser.lr`); `epochs` is the length of training.
        parallel: trials of one arm in a group; a trial learns from earlier groups alone.
        as_arms: finite axes of which every combination becomes an arm of its own.
        points: known settings, tried after trial 0; what one leaves out has the arm's own value.
        constraints: comparisons of two keys, or of a key and a number: `"loss.top_down_weight >= 0.5"`.
        objectives: what is chosen by; of several, the Pareto front of each arm is confirmed.
        early_stopping: which search trials are ended before their time.
        confirm_at_most: of several objectives, how many settings on an arm's Pareto front are confirmed.
    """

    trials: int | None = Field(default=None, ge=0, le=MOST_TRIALS)
    epochs: int | None = Field(default=None, ge=1, le=MOST_EPOCHS)
    finalists: Trials = 1
    race_seeds: int = Field(default=0, ge=0, le=MOST_TRIALS)
    repeats: Trials = 1
    seed: Seed = 0
    parallel: Trials = 1
    sampler: Sampler = "auto"
    axes: dict[str, AxisSpec] = Field(default_factory=dict)
    as_arms: tuple[str, ...] = ()
    points: tuple[dict[str, Scalar], ...] = ()
    constraints: tuple[Annotated[str, AfterValidator(_checked)], ...] = ()
    objectives: tuple[str, ...] = Field(default=(ACCURACY,), min_length=1)
    confirm_at_most: Trials = 4
    early_stopping: EarlyStoppingSpec = EarlyStoppingSpec()

    @model_validator(mode="after")
    def _axes_fit_together(self) -> Self:
        for key, axis in self.axes.items():
            for other in axis.when:
                if other in self.axes and not self.axes[other].values:
                    raise ValueError(
                        f"axes.{key}.when: must name keys with a choice or int axis or none, got {other!r}"
                    )
            if axis.same_as is not None and not self.axes.get(axis.same_as, axis).ends:
                rule = "must name an axis with a range or choices"
                raise ValueError(f"axes.{key}.same_as: {rule}, got {axis.same_as!r}")
        for key in self.as_arms:
            if key not in self.axes or not self.axes[key].values:
                raise ValueError(f"as_arms: must name axes with a choice or an int range, got {key!r}")
            if self.axes[key].role == "nuisance":
                raise ValueError(f"as_arms: must name scientific axes: arms are not about nuisance, got {key!r}")
        self.ordered_axes()
        return self

    @model_validator(mode="after")
    def _objectives_are_possible(self) -> Self:
        for name in self.objectives:
            if name not in MAXIMISED:
                raise ValueError(f"objectives: must be of {', '.join(MAXIMISED)}, got {name!r}")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives: each is listed once, got {list(self.objectives)}")
        several, kind = len(self.objectives) > 1, self.early_stopping.kind
        if kind != "none" and (several or not self.objectives[0].startswith("val/")):
            rule = "needs one objective that is known after every epoch (val/...)"
            raise ValueError(f"early_stopping.kind: {rule}, got {kind} with {', '.join(self.objectives)}")
        if several and self.sampler in ("cmaes", "gp"):
            raise ValueError(
                f"sampler: must be auto, tpe, nsga2, qmc, random or grid with several objectives, got {self.sampler}"
            )
        return self

    @model_validator(mode="after")
    def _races_are_possible(self) -> Self:
        if (self.finalists > 1) != (self.race_seeds > 0):
            rule = "must be above 0 with finalists above 1 and left out otherwise"
            raise ValueError(f"race_seeds: {rule}, got {self.race_seeds} with finalists {self.finalists}")
        if self.trials and self.finalists > self.trials:
            raise ValueError(f"finalists: must be at most trials ({self.trials}), got {self.finalists}")
        for name in ("finalists", "repeats") if len(self.objectives) > 1 else ():
            if getattr(self, name) > 1:
                rule = "must be 1 with several objectives, which confirm a front"
                raise ValueError(f"{name}: {rule}, got {getattr(self, name)}")
        return self

    @model_validator(mode="after")
    def _length_is_searched_in_whole_epochs(self) -> Self:
        axis = self.axes.get(LENGTH)
        if axis is None:
            return self
        if not axis.int_range and not all(type(value) is int for value in axis.choice or ("none",)):
            raise ValueError(f"axes.{LENGTH}: must be an int range or a choice of whole numbers, got {list(axis.ends)}")
        if axis.role != "nuisance":
            rule = "must be nuisance: arms that train longer than others are not compared"
            raise ValueError(f"axes.{LENGTH}.role: {rule}, got {axis.role}")
        if self.early_stopping.kind != "none":
            rule = "must be none where the length of training is searched: epochs of different schedules do not compare"
            raise ValueError(f"early_stopping.kind: {rule}, got {self.early_stopping.kind}")
        return self

    def ordered_axes(self) -> list[str]:
        """Return the keys of the axes, each after those that its condition names.

        Raises:
            ValueError: if conditions go in a circle.
        """
        left, ordered = list(self.axes), list[str]()
        while left:
            ready = next((key for key in left if not set(self.axes[key].when) & set(left)), None)
            if ready is None:
                raise ValueError(f"axes.{left[0]}.when: conditions must not go in a circle, got {', '.join(left)}")
            left.remove(ready)
            ordered.append(ready)
        return ordered
