"""What must hold for a study and its search before it starts, beyond what each description says of itself."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import islice

from dks_study.spec.branches import TAP_JOINT
from dks_study.spec.constraints import parse_constraint
from dks_study.spec.data import DataSpec, is_callable
from dks_study.spec.reaching import not_here
from dks_study.spec.search import LENGTH, AxisSpec, Condition
from dks_study.spec.space import ArmSpace, arm_space, sampler_of
from dks_study.spec.study import StudySpec
from dks_study.spec.table import TableSpec
from dks_study.spec.trial import Scalar
from dks_study.spec.urls import shown

Key = tuple[str | int, ...]
Problem = tuple[Key, str]  # the key that is to blame, and the rule with what was received

SETTINGS_CHECKED = 512  # in each arm, of the combinations of choices and ends of axes
_PACKAGES = {"cmaes": "cmaes", "gp": "torch"}


def space_problems(study: StudySpec, arm: str) -> Iterator[Problem]:
    """Yield what is wrong with the search of a valid arm."""
    space = arm_space(study, arm)
    for key, axis in study.axes_of(arm).items():
        if axis.same_as is None and key in space.axes:
            yield from _axis_problems(study, arm, space, key, axis)
        elif axis.same_as is not None:
            yield from _tie_problems(study, arm, space, key, axis.same_as)
    for number, point in enumerate(study.search.points):
        yield from _point_problems(space, number, point)


def constraint_problems(study: StudySpec, arm: str) -> Iterator[Problem]:
    """Yield what is wrong with the constraints in a valid arm; nothing else can be checked before."""
    space = arm_space(study, arm)
    own = {**space.own, **space.completed({})}
    for constraint in space.constraints:
        blamed = ("search", "constraints", study.search.constraints.index(constraint.text))
        missing = [key for key in constraint.keys if key not in own]
        if missing:
            yield blamed, f"must compare keys that every arm which searches one of them has, got {missing[0]!r}"
            return
        try:
            holds = constraint.holds(own)
        except TypeError:
            yield blamed, f"must compare numbers, got {constraint.text!r}"
            return
        if not holds:
            values = ", ".join(f"{key} {own[key]}" for key in constraint.keys)
            yield blamed, f"{constraint.text!r} must hold in search trial 0, the arm as written, got {values}"


def study_problems(study: StudySpec) -> Iterator[Problem]:
    """Yield what is wrong with the budget and the sampler; the arms' own spaces are in order."""
    every = {arm: arm_space(study, arm) for arm in study.arms}
    yield from _root_problems(study.trial.data)
    yield from _nuisance_problems(study)
    yield from _unused_problems(study, every)
    spaces = {arm: space for arm, space in every.items() if space.axes}
    yield from _comparison_problems(study.table)
    yield from _one_at_a_time_problems(study, spaces)
    for number, point in enumerate(study.search.points):
        for key in point.keys() - {key for space in spaces.values() for key in space.axes}:
            yield ("search", "points", number, key), f"must be an axis ({', '.join(study.search.axes)}), got {key!r}"
    if study.search.epochs is not None:
        rule = "must be left out: a search trial is as long as what it chooses for (trial.epochs, or an axis epochs)"
        yield ("search", "epochs"), f"{rule}, got {study.search.epochs}"
    if study.search.trials == 0 or not spaces:
        return
    yield from _budget_problems(study, spaces)
    for arm, space in spaces.items():
        package = _PACKAGES.get(sampler_of(study, space), "optuna")
        if find_spec(package) is None:
            rule = f"needs the package {package} (pip install {package})"
            yield ("search", "sampler"), f"{rule}, got {study.search.sampler!r} in arm {arm}"


def settings_to_check(study: StudySpec, arm: str) -> Iterator[tuple[Key, dict[str, Scalar]]]:
    """Yield settings that must make a valid run, each with the key to blame: ends first, then combinations."""
    space = arm_space(study, arm)
    for key, axis in space.axes.items():
        for value in axis.ends:
            setting = space.completed({**space.with_condition(key), key: value})
            if space.allows(setting):
                yield ("search", "axes", key), setting
    if space.axes:
        combinations = space.cells() if space.finite else space.corners(SETTINGS_CHECKED)
        yield from ((("search", "axes"), setting) for setting in islice(combinations, SETTINGS_CHECKED))


def _root_problems(data: DataSpec) -> Iterator[Problem]:
    if data.root is not None and not is_callable(data.name) and (rule := not_here(data.root)):
        yield ("trial", "data", "root"), f"{rule}, got {shown(data.root)!r}"


def _nuisance_problems(study: StudySpec) -> Iterator[Problem]:
    """Yield nuisance axes that are what an arm is about."""
    # A length that matches another arm's cost stretches what the search chooses; it chooses nothing itself.
    axes = {key: axis for key, axis in study.search.axes.items() if axis.role == "nuisance" and key != LENGTH}
    for key in axes if study.search.trials != 0 else ():
        for arm, own in ((arm, own) for arm, settings in study.arms.items() for own in settings):
            if f"{key}.".startswith(f"{own}."):  # the key, or a section that is written whole
                rule = f"must be scientific where an arm ({arm}) sets {own} itself"
                yield ("search", "axes", key, "role"), f"{rule}, got nuisance"


def _unused_problems(study: StudySpec, every: Mapping[str, ArmSpace]) -> Iterator[Problem]:
    """Yield axes that no arm searches, and constraints of nothing that is searched."""
    for key, axis in study.search.axes.items():
        for other in axis.when:
            if not any(other in space.own for space in every.values()):
                yield ("search", "axes", key, "when"), f"must name keys that some arm has, got {other!r}"
        if axis.arms == ():
            yield ("search", "axes", key, "arms"), "must hold at least 1 value, got []"
        if axis.when and not any(key in space.axes for space in every.values()):
            conditions = {other: _plain(values) for other, values in axis.when.items()}
            yield ("search", "axes", key, "when"), f"must be met in some arm that searches {key}, got {conditions}"
        sets = [frozenset(str(value).split(TAP_JOINT)) for value in axis.choice or ()]
        if key == "branches.taps" and len(set(sets)) < len(sets):
            yield ("search", "axes", key, "choice"), f"must list each set of taps once, got {_listed(axis)}"
    for number, text in enumerate(study.search.constraints):
        keys = set(parse_constraint(text).keys)
        # Keys that `search.as_arms` has made arms of are written in these.
        if not any(keys & {*space.axes, *space.ties} or keys <= study.arms[arm].keys() for arm, space in every.items()):
            rule = f"must speak of an axis that some arm searches ({', '.join(study.search.axes) or 'none does'})"
            yield ("search", "constraints", number), f"{rule}, got {text!r}"


def _axis_problems(study: StudySpec, arm: str, space: ArmSpace, key: str, axis: AxisSpec) -> Iterator[Problem]:
    blamed = ("search", "axes", key)
    if not space.active(key, space.completed({})):
        return
    if key not in space.own:
        yield blamed, f"{arm} has no value of its own for search trial 0"
    elif study.search.trials != 0 and not axis.contains(space.own[key]):
        rule = f"must contain {arm}'s own value {space.own[key]}: search trial 0 is the arm as written"
        yield blamed, f"{rule}, got {_listed(axis)}"


def _tie_problems(study: StudySpec, arm: str, space: ArmSpace, key: str, source: str) -> Iterator[Problem]:
    blamed = ("search", "axes", key, "same_as")
    if source not in study.axes_of(arm):
        yield blamed, f"must name an axis of the same arms, got {source!r}, which {arm} does not search"
    elif source in space.axes and space.active(source, space.completed({})):
        own = space.own.get(key), space.own.get(source)
        if own[0] != own[1]:
            rule = f"in search trial 0, {arm} as written, both must have one value"
            yield blamed, f"{rule}, got {own[0]} and {own[1]} ({source})"


def _point_problems(space: ArmSpace, number: int, point: Mapping[str, Scalar]) -> Iterator[Problem]:
    for key in point.keys() & space.axes.keys():
        if not space.axes[key].contains(point[key]):
            rule = f"must be within its axis {_listed(space.axes[key])}"
            yield ("search", "points", number, key), f"{rule}, got {point[key]!r}"
            return
    setting = space.completed({key: value for key, value in point.items() if key in space.axes})
    if space.axes and not space.allows(setting):
        yield ("search", "points", number), f"must meet search.constraints, got {setting}"


def _budget_problems(study: StudySpec, spaces: Mapping[str, ArmSpace]) -> Iterator[Problem]:
    trials = study.search.trials
    cells = {arm: len(space.cells()) if space.finite else None for arm, space in spaces.items()}
    counts = ", ".join(f"{arm} {count or 'continuous'}" for arm, count in cells.items())
    if trials is None and None in cells.values():
        yield ("search", "trials"), f"must be given where a space is not finite; cells by arm: {counts}, got nothing"
    elif trials is None and len(set(cells.values())) > 1:
        yield ("search", "trials"), f"must be given where arms differ in cells (equal budgets): {counts}, got nothing"
    for arm, count in cells.items():
        if trials is None and count is not None and study.search.finalists > count:
            rule = f"must be at most the cells of {arm} ({count})"
            yield ("search", "finalists"), f"{rule}, got {study.search.finalists}"
        if study.search.sampler == "grid" and (count is None or (trials is not None and trials < count)):
            rule = "grid needs finite spaces and a trial for every cell"
            yield ("search", "sampler"), f"{rule}; cells by arm: {counts}, got search.trials {trials}"
        queued = len(spaces[arm].queue(study.search.points))
        if trials is not None and trials < queued:
            yield ("search", "trials"), f"must be at least {queued}: {arm} as written and its points, got {trials}"


def _comparison_problems(table: TableSpec) -> Iterator[Problem]:
    for arm, other in table.against.items():
        if arm == table.reference:
            yield ("table", "against", arm), f"must be left out: {arm} is the reference, got {other!r}"
        if other in table.against:
            rule = f"must be an arm that stands for itself, as {other} does not (against.{other})"
            yield ("table", "against", arm), f"{rule}, got {other!r}"


def _one_at_a_time_problems(study: StudySpec, spaces: Mapping[str, ArmSpace]) -> Iterator[Problem]:
    searched = list(spaces) if study.search.trials != 0 else []
    for arm in study.table.one_at_a_time:
        if arm not in searched:
            rule = f"must name arms that search something ({', '.join(searched) or 'none does'})"
            yield ("table", "one_at_a_time"), f"{rule}, got {arm!r}"
    if len(set(study.table.one_at_a_time)) < len(study.table.one_at_a_time):
        yield ("table", "one_at_a_time"), f"must list each arm once, got {list(study.table.one_at_a_time)}"
    others = {"table.looks": study.table.looks, "search.objectives": study.search.objectives[1:]}
    for key in (key for key, is_there in others.items() if is_there and study.table.one_at_a_time):
        got = list(study.table.one_at_a_time)
        yield ("table", "one_at_a_time"), f"must be left out with looks or several objectives ({key}), got {got}"


def _plain(values: Condition) -> Scalar | list[Scalar]:
    return list(values) if isinstance(values, tuple) else values


def _listed(axis: AxisSpec) -> list[Scalar]:
    return list(axis.ends)
