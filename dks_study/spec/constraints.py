"""What a search must keep to: comparisons between two searched keys, or of a key and a number."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
