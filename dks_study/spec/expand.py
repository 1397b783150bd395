"""`search.as_arms`: every combination of some finite axes as an arm of its own."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dks_study.spec.space import ArmSpace, arm_space
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Setting

_NAME_CHARACTERS = 40


def with_arms(study: StudySpec) -> StudySpec:
    """Return `study` with the combinations of `search.as_arms` as arms, named like dense_recipe_paper.

    The reference arm becomes the combination that it has as written.

    Raises:
        ValueError: if a new arm's name is too long or taken; the message begins with the key.
    """
    if not study.search.as_arms:
        return study
    arms: dict[str, dict[str, Any]] = {}
    descendants: dict[str, list[str]] = {}
    for arm in study.arms:
        settings = _fixed(arm_space(study, arm), study.search.as_arms)
        descendants[arm] = [_named(arm, setting, arms) for setting in settings]
        for name, setting in zip(descendants[arm], settings, strict=True):
            arms[name] = {**study.arms[arm], **setting}
    values = study.model_dump(mode="json", by_alias=True, exclude_unset=True)
    values["arms"] = arms
    values["table"]["reference"] = descendants[study.table.reference][0]
    del values["search"]["as_arms"]
    values["search"]["axes"] = _other_axes(study, values["search"]["axes"], descendants)
    return StudySpec.model_validate_json(json.dumps(values))


def _fixed(space: ArmSpace, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the combinations of the axes `keys`, that of the arm as written first."""
    axes = {key: axis for key, axis in space.axes.items() if key in keys}
    if not axes:
        return [{}]
    ties = {key: axis for key, axis in space.ties.items() if axis in axes}
    left_open = (space.axes.keys() | space.ties.keys()) - (axes.keys() | ties.keys())
    constraints = tuple(each for each in space.constraints if not left_open & set(each.keys))
    return replace(space, axes=axes, ties=ties, constraints=constraints).cells()


def _named(arm: str, setting: Setting, taken: Mapping[str, object]) -> str:
    words = [f"{key.rpartition('.')[2]}_{value}" for key, value in setting.items()]
    name = re.sub("[^a-z0-9_]+", "_", "_".join([arm, *words]).lower())
    if len(name) > _NAME_CHARACTERS or name in taken:
        rule = f"every combination needs a name of its own of at most {_NAME_CHARACTERS} characters"
        raise ValueError(f"search.as_arms: {rule}, got {name!r}")
    return name


def _other_axes(study: StudySpec, axes: dict[str, Any], descendants: Mapping[str, list[str]]) -> dict[str, Any]:
    moved = {key for key, axis in study.search.axes.items() if {key, axis.same_as} & set(study.search.as_arms)}
    left = {key: axis for key, axis in axes.items() if key not in moved}
    for axis in left.values():
        if axis.get("arms") is not None:
            axis["arms"] = [name for arm in axis["arms"] for name in descendants[arm]]
    return left
