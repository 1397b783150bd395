"""The sealed plan: what a confirmation goes by, written into the ledger before its first trial.

Whoever looks at results and then changes the arms, the choice rule, the seeds or the margin has tests whose error is
not what they say. A study whose trials were first seen under another plan of the same question says so below its table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dks_study.spec.base import hash_of
from dks_study.spec.space import searched
from dks_study.spec.study import StudySpec
from dks_study.spec.table import LEVEL
from dks_study.study.line_rules import NUMBER, TEXT, keys, or_none, values, whole

RULE = "Lan and DeMets 1983, spending like O'Brien and Fleming's"  # of looks (see sequential.py)

# What JSON keeps of a plan; keys that came later may be left out.
PLAN_RULE = keys(
    {
        "seeds": values(list, {int}, "a whole number"),
        "arms": values(dict, {str}, "a text"),
        **{"choice": TEXT, "comparison": TEXT, "margin": or_none(NUMBER)},
    },
    {"looks": TEXT, "splits": whole(1)},
)


@dataclass(frozen=True)
class Plan:
    """What is settled before the first confirmation.

    Attributes:
        seeds: the report seeds.
        arms: a hash of what each arm changes, by its name.
        choice: a hash of how a setting is chosen; "" where nothing is searched.
        comparison: a hash of who is compared with whom.
        margin: in points of error, below which arms count as equally good.
        looks: when arms may be decided before all seeds are trained, and by which rule; "": never.
        splits: of the data, over which the seeds are spread.
    """

    seeds: tuple[int, ...]
    arms: Mapping[str, str]
    choice: str
    comparison: str
    margin: float | None
    looks: str = ""
    splits: int = 1

    @property
    def fields(self) -> dict[str, Any]:
        """What JSON keeps of it; keys that came later are left out at their defaults."""
        later = {"looks": "", "splits": 1}
        return {key: value for key, value in vars(self).items() if key not in later or value != later[key]}

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """Return the plan of which JSON kept the fields, by PLAN_RULE."""
        return cls(**{**fields, "seeds": tuple(fields["seeds"]), "arms": dict(fields["arms"])})


def plan_of(study: StudySpec) -> Plan:
    """Return the plan that `study` describes; what it leaves at its defaults is not in the hashes."""
    is_searched, search = any(searched(study, arm) for arm in study.arms), study.search
    if (looks := study.table.looks) and study.searches > 1:  # how many there are at most is up to the looks
        search = search.model_copy(update={"repeats": looks.first // study.seeds_of_search})
    return Plan(
        study.report_seeds,
        {arm: hash_of({"changes": dict(changes)}) for arm, changes in study.arms.items()},
        hash_of(search.model_dump(mode="json", exclude_defaults=True)) if is_searched else "",
        hash_of({"reference": study.table.reference, "against": study.table.against}),
        study.table.margin,
        _looks(study),
        study.splits,
    )


def _looks(study: StudySpec) -> str:
    looks, seeds = study.table.looks, len(study.report_seeds)
    if looks is None:
        return ""
    when = f"after {looks.first} of at most {seeds} seeds, then every {looks.every}"
    return f"looks {when}, until decided ({RULE}, {100 * LEVEL:g} %)"


def changes(before: Plan, now: Plan) -> str:
    """Return in words what is another in the plan `now`; "" if nothing is."""
    return "; ".join(_changes(before, now))


def _changes(before: Plan, now: Plan) -> Iterator[str]:
    yield from _members("seed", before.seeds, now.seeds)
    yield from _members("arm", list(before.arms), list(now.arms))
    other = [name for name, changed in now.arms.items() if before.arms.get(name, changed) != changed]
    if other:
        yield f"{_named('arm', other)} changed"
    if before.choice != now.choice:
        yield "another search or choice rule"
    if before.comparison != now.comparison:
        yield "other comparisons"
    if before.margin != now.margin:
        yield f"margin {_points(now.margin)} in place of {_points(before.margin)}"
    if before.splits != now.splits:
        yield f"{now.splits} split{'' if now.splits == 1 else 's'} of the data in place of {before.splits}"
    if before.looks != now.looks:
        yield f"{now.looks or 'no looks'} in place of {before.looks or 'none'}"


def _members(noun: str, before: Sequence[object], now: Sequence[object]) -> Iterator[str]:
    if new := [each for each in now if each not in before]:
        yield f"{_named(noun, new)} added"
    if gone := [each for each in before if each not in now]:
        yield f"{_named(noun, gone)} left out"


def _named(noun: str, names: Sequence[object]) -> str:
    return f"{noun}{'s' if len(names) > 1 else ''} {', '.join(map(str, names))}"


def _points(margin: float | None) -> str:
    return "none" if margin is None else f"{margin:g}"
