"""What the name of a trial's folder tells of its place in the plan."""

import re
from collections.abc import Sequence

from dks_study.study.cell import Cell, Choice, Phase

_ID = re.compile(
    r"(?P<arm>.+)-(?:(?P<phase>search|race)(?P<repeat>\d*)-(?P<index>\d+)"
    r"|(?:(?P<confirm>confirm|written)(?P<member>\d*)|back-(?P<back>[\w.]+))-seed(?P<seed>\d+))"
)


def cell_of(trial: str, seed: int, epochs: int, report_seeds: Sequence[int]) -> Cell | None:
    """Return the cell with the id `trial`, as far as an id tells: without its setting; None if it is no id."""
    parts = _ID.fullmatch(trial)
    if parts is None:
        return None
    if parts["phase"]:
        phase: Phase = "search" if parts["phase"] == "search" else "race"
        return Cell(parts["arm"], phase, int(parts["index"]), seed, epochs, {}, repeat=int(parts["repeat"] or 0))
    position, back = report_seeds.index(int(parts["seed"])), parts["back"] or ""
    choice: Choice = "back" if back else "tuned" if parts["confirm"] == "confirm" else "written"
    return Cell(
        parts["arm"], "confirm", position, seed, epochs, {}, int(parts["member"] or 0), choice=choice, back=back
    )
