"""How an arm looks: the same in every figure and on every page of a study."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

# Okabe and Ito (2008), without its yellow, which is too faint for a line on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
OWN = {"baseline": 0, "ds": 1, "dks": 2, "dense": 2}  # arms of many studies: they look alike in all of them


@dataclass(frozen=True)
class Look:
    """Colour, line and marker of an arm: the same in every figure of a study."""

    colour: str
    line: str
    marker: str


def looks(arms: Iterable[str]) -> dict[str, Look]:
    """Return a look for each of `arms`: that of its name in OWN, or by its place among the others.

    After 7 arms colours return with other lines and markers.
    """
    arms = list(arms)
    places: dict[str, int] = {}
    for arm in arms:
        if arm in OWN and OWN[arm] not in places.values():
            places[arm] = OWN[arm]
    taken = set(places.values())
    free = (place for place in count() if place not in taken)
    places |= {arm: next(free) for arm in arms if arm not in places}
    many = len(COLOURS)
    return {
        arm: Look(COLOURS[at % many], LINES[at // many % len(LINES)], MARKERS[(at + at // many) % len(MARKERS)])
        for arm, at in ((arm, places[arm]) for arm in arms)
    }
