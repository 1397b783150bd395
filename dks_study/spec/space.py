"""What one arm searches: its axes in the order of their conditions, ties, constraints, and the cells of a finite space.

A setting holds a value for every axis whose condition it meets, and for the keys tied to those; nothing else.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from operator import getitem
from typing import Any

from dks_study.spec.branches import TAP_JOINT, only_recipe
from dks_study.spec.constraints import Constraint, parse_constraint
from dks_study.spec.search import AxisSpec
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.trial import Scalar, Setting

ENUMERABLE = 10_000  # cells; a larger space is sampled


@dataclass(frozen=True)
class ArmSpace:
    """The search space of one arm.

    Attributes:
        axes: what is sampled, each axis after those that its condition names.
        ties: from a tied key to the axis whose value it takes.
        constraints: those that speak of at least one searched key.
        own: the arm's own values of all keys above, as far as it has them.
    """

    axes: Mapping[str, AxisSpec]
    ties: Mapping[str, str]
    constraints: tuple[Constraint, ...]
    own: Mapping[str, Any]

    def active(self, key: str, setting: Setting) -> bool:
        """Whether the condition of axis `key` is met by `setting`, which holds all axes before it."""
        axis = self.axes[key]
        return all(axis.wants(other, setting.get(other, self.own.get(other))) for other in axis.when)

    def tied(self, sampled: Setting) -> dict[str, Scalar]:
        """Return `sampled` with the keys that are tied to it."""
        return {**sampled, **{key: sampled[axis] for key, axis in self.ties.items() if axis in sampled}}

    def allows(self, setting: Setting) -> bool:
        """Whether every constraint holds."""
        values = {**self.own, **setting}
        return all(constraint.holds(values) for constraint in self.constraints)

    def completed(self, given: Setting) -> dict[str, Scalar]:
        """Return a setting with the given values; an axis left out has the arm's own value, or else its first one."""
        setting: dict[str, Scalar] = {}
        for key, axis in self.axes.items():
            if key in given or self.active(key, setting):
                own: Any = self.own.get(key)
                setting[key] = given[key] if key in given else own if axis.contains(own) else axis.ends[0]
        return self.tied(setting)

    def put_back(self, chosen: Setting) -> Iterator[tuple[str, dict[str, Scalar]]]:
        """Yield each axis that `chosen` changed, and the setting in which it alone has the value as written again.

        What the constraints do not allow is left out, and so is the arm as written, which is trained anyway.
        """
        written = self.completed({})
        for key in self.axes:
            if key in chosen and key in written and chosen[key] != written[key]:
                given = {axis: value for axis, value in chosen.items() if axis in self.axes}
                setting = self.completed({**given, key: written[key]})
                if setting != written and self.allows(setting):
                    yield key, setting

    def with_condition(self, key: str) -> dict[str, Scalar]:
        """Return values of other axes under which axis `key` is searched."""
        needed: dict[str, Scalar] = {}
        for other in self.axes[key].when:
            if other in self.axes:
                fitting = (value for value in self.axes[other].values if self.axes[key].wants(other, value))
                own: Any = self.own.get(other)
                needed |= self.with_condition(other)
                needed[other] = own if self.axes[key].wants(other, own) else next(fitting)
        return needed

    def edges(self, setting: Setting) -> tuple[str, ...]:
        """Return the axes that can be widened and of which `setting` lies at the edge that would move."""
        return tuple(key for key, axis in self.axes.items() if key in setting and _would_move(axis, setting[key]))

    def widened(self, keys: Sequence[str]) -> "ArmSpace":
        """Return the space with the axes `keys` as wide as they may be."""
        return replace(self, axes={key: axis.widened if key in keys else axis for key, axis in self.axes.items()})

    @property
    def finite(self) -> bool:
        """Whether it can be enumerated: neither a continuous axis nor more than ENUMERABLE combinations."""
        return 0 < math.prod(len(axis.values) for axis in self.axes.values()) <= ENUMERABLE

    def cells(self) -> list[dict[str, Scalar]]:
        """Return every setting of a finite space that the constraints allow, the arm as written first."""
        first = self.completed({})
        every = self._expand({key: axis.values for key, axis in self.axes.items()})
        return [first, *(cell for cell in every if cell != first)]

    def corners(self, at_most: int) -> Iterator[dict[str, Scalar]]:
        """Yield settings made of the ends of axes and of choices, as far as the constraints allow."""
        return islice(self._expand({key: axis.ends for key, axis in self.axes.items()}), at_most)

    def queue(self, points: Sequence[Setting]) -> list[dict[str, Scalar]]:
        """Return what is tried first: the arm as written, then the points of a study, as far as they concern it."""
        queued = [self.completed({})]
        for point in points:
            setting = self.completed({key: value for key, value in point.items() if key in self.axes})
            if setting not in queued:
                queued.append(setting)
        return queued

    def _expand(self, values: Mapping[str, Sequence[Scalar]]) -> Iterator[dict[str, Scalar]]:
        settings: Iterator[dict[str, Scalar]] = iter([{}])
        for key, choices in values.items():
            settings = self._with_axis(settings, key, choices)
        return (full for setting in settings if self.allows(full := self.tied(setting)))

    def _with_axis(
        self, settings: Iterator[dict[str, Scalar]], key: str, choices: Sequence[Scalar]
    ) -> Iterator[dict[str, Scalar]]:
        for setting in settings:
            if self.active(key, setting):
                yield from ({**setting, key: value} for value in choices)
            else:
                yield setting


def arm_space(study: StudySpec, arm: str) -> ArmSpace:
    """Return what `arm` searches; an axis whose condition can never be met in it is left out.

    Raises:
        pydantic.ValidationError: if the arm is not a valid run.
    """
    listed = study.axes_of(arm)
    if not listed:
        return ArmSpace({}, {}, (), {})
    constraints = [parse_constraint(text) for text in study.search.constraints]
    keys = {*listed, *(key for axis in listed.values() for key in axis.when)}
    own = _own_values(study, arm, keys | {key for constraint in constraints for key in constraint.keys})
    axes: dict[str, AxisSpec] = {}
    for key in study.search.ordered_axes():
        if key in listed and listed[key].ends and all(_reachable(listed[key], k, axes, own) for k in listed[key].when):
            axes[key] = listed[key]
    ties = {key: axis.same_as for key, axis in listed.items() if axis.same_as in axes}
    searched = {*axes, *ties}
    mine = tuple(constraint for constraint in constraints if searched & set(constraint.keys))
    return ArmSpace(axes, ties, mine, own)


def searched(study: StudySpec, arm: str) -> int:
    """Return the number of search trials of `arm`: the same in every arm that has an axis, none elsewhere."""
    space = arm_space(study, arm)
    if not space.axes:
        return 0
    return study.search.trials if study.search.trials is not None else len(space.cells())


def sampler_of(study: StudySpec, space: ArmSpace) -> str:
    """Return the sampler of an arm with `space`: what `auto` stands for in it."""
    search = study.search
    if search.sampler != "auto":
        return search.sampler
    if space.finite and (search.trials is None or search.trials >= len(space.cells())):
        return "grid"
    return "nsga2" if len(search.objectives) > 1 else "tpe"


def _would_move(axis: AxisSpec, value: Scalar) -> bool:
    edge = axis.edge(value)
    if edge is None or axis.widen_to is None:
        return False
    end = 0 if edge == "low" else -1
    return axis.widened.ends[end] != axis.ends[end]


def _reachable(axis: AxisSpec, key: str, axes: Mapping[str, AxisSpec], own: Mapping[str, Any]) -> bool:
    searched_values = axes[key].values if key in axes else ()
    return axis.wants(key, own.get(key)) or any(axis.wants(key, value) for value in searched_values)


def _own_values(study: StudySpec, arm: str, keys: set[str]) -> dict[str, Any]:
    run = arm_run(study, arm, {})
    values: Any = run.model_dump(mode="json")
    axis = study.axes_of(arm).get("branches.recipe")
    if axis is None or not axis.contains(run.branches.recipe):  # it names what `auto` comes to
        values["branches"]["recipe"] = only_recipe(run.backbone, run.branches)
    own: dict[str, Any] = {}
    for key in keys:
        try:
            own[key] = reduce(getitem, key.split("."), values)
        except (KeyError, TypeError):
            continue
    if taps := own.get("branches.taps"):
        own["branches.taps"] = TAP_JOINT.join(taps)  # as an axis would choose them
    return own
