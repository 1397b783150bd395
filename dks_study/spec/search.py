"""How an arm is searched: axes with conditions and ties, constraints, sampler, objectives, early stopping."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dks_study.spec.base import Seed, Spec
from dks_study.spec.objectives import ACCURACY, MAXIMISED
from dks_study.spec.trial import Scalar

Condition = Scalar | tuple[Scalar, ...]
_ONE_OF = "an axis has exactly one of float: [low, high], int: [low, high], choice: [...], same_as: another axis"


class AxisSpec(Spec):
    """One searched value, for some arms or all: a range (both ends included), choices, or that of another axis.

    `when` holds other keys' values (or lists of them): where a run has others, the axis is left out of the setting.
    """

    float_range: tuple[float, float] | None = Field(default=None, alias="float")
    int_range: tuple[int, int] | None = Field(default=None, alias="int")
    choice: tuple[Scalar, ...] | None = Field(default=None, min_length=2)
    same_as: str | None = None
    log: bool = False
    arms: tuple[str, ...] | None = None
    when: dict[str, Condition] = Field(default_factory=dict)

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
            return value in self.choice
        low, high = self.float_range or self.int_range or (0, 0)
        number = isinstance(value, int | float) and low <= value <= high
        return number and (not self.int_range or float(value).is_integer())  # type: ignore[arg-type]

    def wants(self, key: str, value: object) -> bool:
        """Whether this axis is searched where `key` has `value`, as far as its condition speaks of `key`."""
        wanted = self.when.get(key, ())
        return value in (wanted if isinstance(wanted, tuple) else (wanted,))


_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_SIDE = r"([A-Za-z_]\w*(?:\.\w+)+|[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"
_CONSTRAINT = re.compile(rf"\s*{_SIDE}\s*(<=|>=|==|!=|<|>)\s*{_SIDE}\s*")


@dataclass(frozen=True)
class Constraint:
    """A comparison between two keys, or a key and a number."""

    text: str
    left: str | float
    sign: str
    right: str | float

    @property
    def keys(self) -> tuple[str, ...]:
        """The dotted keys that it speaks of."""
        return tuple(side for side in (self.left, self.right) if isinstance(side, str))

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds for `values`, which has all its keys.

        Raises:
            TypeError: if two values have no order.
        """
        left, right = (values[side] if isinstance(side, str) else side for side in (self.left, self.right))
        return bool(_COMPARISONS[self.sign](left, right))


def parse_constraint(text: str) -> Constraint:
    """Read `key <= key` or `key <= number`; the other signs are <, >, >=, == and !=.

    Raises:
        ValueError: if the text is anything else.
    """
    match = _CONSTRAINT.fullmatch(text)
    sides = (
        [side if side[0].isalpha() or side[0] == "_" else float(side) for side in match.group(1, 3)] if match else []
    )
    if match is None or not any(isinstance(side, str) for side in sides):
        raise ValueError("a constraint is `key sign key` or `key sign number` with one of < <= > >= == !=")
    return Constraint(text, sides[0], match.group(2), sides[1])


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
    grace_epochs: int = Field(default=1, ge=1)
    reduction: int = Field(default=3, ge=2)


Sampler = Literal["auto", "tpe", "gp", "cmaes", "qmc", "random", "nsga2", "grid"]


class SearchSpec(Spec):
    """The search of each arm: as many trials, of as many epochs, in every arm. Trial 0 is the arm as written.

    Attributes:
        trials: left out, every cell of a finite space is tried once.
        parallel: trials of one arm in a group; a trial learns from earlier groups alone.
        as_arms: finite axes of which every combination becomes an arm of its own.
        points: known settings, tried after trial 0; what one leaves out has the arm's own value.
        confirm_at_most: of several objectives, how many settings on an arm's Pareto front are confirmed.
    """

    trials: int | None = Field(default=None, ge=0)
    epochs: int = Field(default=1, ge=1)
    seed: Seed = 0
    parallel: int = Field(default=1, ge=1)
    sampler: Sampler = "auto"
    axes: dict[str, AxisSpec] = Field(default_factory=dict)
    as_arms: tuple[str, ...] = ()
    points: tuple[dict[str, Scalar], ...] = ()
    constraints: tuple[Annotated[str, AfterValidator(_checked)], ...] = ()
    objectives: tuple[str, ...] = Field(default=(ACCURACY,), min_length=1)
    confirm_at_most: int = Field(default=4, ge=1)
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
