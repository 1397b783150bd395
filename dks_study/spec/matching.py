"""An arm that trains as long as another costs: `epochs: {match: dense, by: macs}` among what it changes."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from dks_study.spec.base import Name, Spec

_RULE = "must be the same in the whole study (trial.epochs), or {match: ARM, by: macs}"


class MatchSpec(Spec):
    """The length of an arm's training, by the cost of another arm's; schedules are stretched to it.

    Attributes:
        match: the arm whose training costs as much.
        by: macs: multiply-accumulates of all that runs in training (branches, peers, teacher), forward pass, as the
            table of costs counts them.
        macs: of an epoch, of this arm and of the other one; counted when a study is loaded, not for a person to give.
    """

    match: Name
    by: Literal["macs"]
    macs: tuple[int, int] | None = None

    def epochs(self, of_other: int) -> int:
        """Return how many epochs cost what `of_other` epochs of the other arm do, rounded up to a whole one.

        Raises:
            ValueError: if nobody has counted yet.
        """
        if self.macs is None:
            raise ValueError(f"the epochs that match {self.match} are known once multiply-accumulates are counted")
        own, other = self.macs
        return -(-of_other * other // own)

    @property
    def times(self) -> float:
        """How many times as long training becomes, before it is rounded up."""
        return self.macs[1] / self.macs[0] if self.macs else float("nan")


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
        raise ValueError(f"arms.{arm}.epochs: {_RULE}, got {json.dumps(value)}") from error
