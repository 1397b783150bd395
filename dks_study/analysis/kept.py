"""Where the notebooks find studies: among the kept results that ship, or in a folder or a bundle of one's own."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dks_study.spec.shipped import KEPT
from dks_study.study.bundles import opened
from dks_study.study.results import Results, ResultsError, load_results

SHIPPED = KEPT
FOLDER_VARIABLE = "DKS_RESULTS"  # a folder such as results/, or a bundle, instead


def kept(space: str, profile: str = "laptop") -> Results:
    """Return the newest results of the question `space` at the scale `profile`.

    Raises:
        ResultsError: if there are none.
    """
    return all_kept(space, profile)[-1]


def all_kept(space: str, profile: str = "laptop") -> list[Results]:
    """Return all results of the question `space` at the scale `profile`, the oldest first; raises as `kept` does."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or SHIPPED)
    found = []
    bundles = [folder] if folder.is_file() else sorted(folder.glob("*.zip"))
    for path in (*(each.parent for each in folder.glob("*/provenance.json")), *bundles):
        with opened(path) as place:
            known = json.loads((place / "provenance.json").read_text(encoding="utf-8"))
            asked = (known["study"]["name"], known["study"]["profile"]) == (space, profile)
            if asked and (place / "trials.parquet").exists():  # it does not while a study runs
                found.append((known["sessions"][-1]["started"], path))
    if not found:
        raise ResultsError(f"{folder}: holds no results of {space} at the scale {profile}")
    return [load_results(path) for _, path in sorted(found)]


@dataclass(frozen=True)
class LeftOut:
    """In place of a table or a figure: why it is not there."""

    why: str

    def _repr_markdown_(self) -> str:
        return f"*Left out: {self.why}.*"


Shown = TypeVar("Shown")


def shown(show: Callable[[], Shown]) -> Shown | LeftOut:
    """Return what `show` returns, or a line that names the results that it needs and that are not there."""
    try:
        return show()
    except ResultsError as error:
        return LeftOut(str(error))
