"""An arm that trains as long as another costs: `epochs: {match: dense, by: macs}` among what it changes.

What is matched stands in the description of the study, as two numbers. Multiply-accumulates are counted when a study is
loaded, the same ones everywhere. Seconds are not the same ones twice: were they measured in the study itself, a
stopwatch would decide how long an arm trains, and nobody could run it again. So they come from a study that is
finished, or from a person, and are never measured again.
"""

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from dks_study.spec.base import Name, Spec

_RULE = "must be the same in the whole study (trial.epochs), or {match: ARM, by: macs}, or by time"
_RULES = {
    "measured": "must be the folder or the bundle of a study",
    "seconds": "must be two numbers from 1e-6 to 1e6: of an epoch of this arm, and of the other one",
}
Seconds = Annotated[float, Field(ge=1e-6, le=1e6)]


class MatchSpec(Spec):
    """The length of an arm's training, by the cost of another arm's; schedules are stretched to it.

    Attributes:
        match: the arm whose training costs as much.
        by: macs: multiply-accumulates of all that runs in training (branches, peers, teacher), forward pass, as the
            table of costs counts them; time: seconds of training, as they were measured in an earlier study.
        measured: with by time: the folder or bundle of a finished study that trained both arms as they are written
            here, but for their epochs; once it is read its name stands here. Not needed with `seconds` given by hand.
        seconds: with by time: of an epoch, of this arm and of the other one. Where they are given nothing is read.
        macs: of an epoch, of this arm and of the other one; counted when a study is loaded, not for a person to give.
    """

    match: Name
    by: Literal["macs", "time"]
    measured: str | None = Field(default=None, min_length=1)
    seconds: tuple[Seconds, Seconds] | None = None
    macs: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _keys_go_with_by(self) -> Self:
        for key in ("measured", "seconds"):
            if self.by == "macs" and (got := getattr(self, key)) is not None:
                raise ValueError(f"{key}: must be left out with by macs, got {json.dumps(got)}")
        if self.by == "time" and self.macs is not None:
            raise ValueError(f"macs: must be left out with by time, got {list(self.macs)}")
        if self.by == "time" and self.measured is None and self.seconds is None:
            raise ValueError("measured: must name the folder of an earlier study with by time, got null")
        return self

    @property
    def cost(self) -> tuple[Fraction, Fraction] | None:
        """What an epoch costs, of this arm and of the other one: exactly as it is written; None: not known yet."""
        found = self.macs or self.seconds
        return (Fraction(str(found[0])), Fraction(str(found[1]))) if found else None

    def epochs(self, of_other: int) -> int:
        """Return how many epochs cost what `of_other` epochs of the other arm do, rounded up to a whole one.

        Raises:
            ValueError: if nobody has counted yet.
        """
        if self.cost is None:
            raise ValueError(f"the epochs that match {self.match} are known once its cost is counted, or read")
        own, other = self.cost
        return -(-of_other * other // own)

    @property
    def times(self) -> float:
        """How many times as long training becomes, before it is rounded up."""
        return float(self.cost[1] / self.cost[0]) if self.cost else float("nan")

    @property
    def in_words(self) -> str:
        """What was matched: multiply-accumulates, or seconds and where they are from."""
        if self.seconds is None:
            return "multiply-accumulates"
        own, other = self.seconds
        return (
            f"{own:.4g} s and {other:.4g} s an epoch, {f'measured in {self.measured}' if self.measured else 'as given'}"
        )


def read_matches(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, MatchSpec]:
    """Return of each arm that says so which other one it trains as long as.

    Raises:
        ValueError: one line that names the key, the rule and the value.
    """
    given = {arm: changes["epochs"] for arm, changes in arms.items() if "epochs" in changes}
    found = {arm: _read(arm, value) for arm, value in given.items()}
    for arm, match in found.items():
        others = [each for each in arms if each not in found]
        if match.match not in others:
            rule = f"must be an arm with epochs of the whole study ({', '.join(others) or 'there is none'})"
            raise ValueError(f"arms.{arm}.epochs.match: {rule}, got {match.match!r}")
    return found


def _read(arm: str, value: object) -> MatchSpec:
    try:
        return MatchSpec.model_validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":  # a rule between its keys, which names the key
            raise ValueError(f"arms.{arm}.epochs.{first['ctx']['error']}") from error
        if isinstance(value, dict) and first["loc"] and (key := str(first["loc"][0])) in _RULES:
            raise ValueError(f"arms.{arm}.epochs.{key}: {_RULES[key]}, got {json.dumps(value[key])}") from error
        raise ValueError(f"arms.{arm}.epochs: {_RULE}, got {json.dumps(value)}") from error
