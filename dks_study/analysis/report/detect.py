"""What a study that is not run yet can find, from the spread in an earlier table.csv: for --dry-run, without pandas."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, inf, isinf, isnan, nan, sqrt
from pathlib import Path
from statistics import fmean

from dks_study.analysis.report.reach import compared_arms
from dks_study.analysis.statistics.planning import Spread, detectable_by_t, smallest_detectable
from dks_study.spec.study import StudySpec
from dks_study.spec.table import LEVEL


@dataclass(frozen=True)
class Earlier:
    """An earlier study of the same question, and how much its paired differences spread."""

    folder: Path
    spread: Spread


def read_earlier(folders: Sequence[Path]) -> Earlier | None:
    """Return the first of `folders` whose table compares something."""
    for folder in folders:
        if (spread := read_spread(folder / "table.csv")) is not None:
            return Earlier(folder, spread)
    return None


def read_spread(table: Path) -> Spread | None:
    """Return the spread of a paired difference of rows as tuned: root mean squares over them; None if nothing is known.

    With a search for each seed choice and seed cannot be told apart: all of the spread is the seed's then.
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("choice") == "tuned" and row.get("difference_std")]
    except OSError:
        return None
    total, seed, choice = (
        [float(row[f"difference_{name}"]) for row in rows if row.get(f"difference_{name}")]
        for name in ("std", "seed_std", "choice_std")
    )
    if not any(total):
        return None
    if len(seed) < len(rows):
        return Spread(_root_mean_square(total), 0.0)
    return Spread(_root_mean_square(seed), _root_mean_square(choice) if len(choice) == len(rows) else None)


def _root_mean_square(values: Sequence[float]) -> float:
    return sqrt(fmean(value**2 for value in values))


def detectable(study: StudySpec, spread: Spread) -> dict[str, float]:
    """Return by estimand the difference (points) that `study` finds with a probability of 80 % after Holm.

    Only of what it can claim; NaN for the procedure where the spread of choices is not known, infinite where its
    seeds are too few.
    """
    seeds, comparing = len(study.report_seeds), max(1, compared_arms(study))
    searches = study.search.repeats if study.search.axes and study.search.trials != 0 else 1
    if searches == 1:
        return {"settings": smallest_detectable(spread.seed_std, seeds, comparisons=comparing) if seeds > 1 else inf}
    if searches == seeds:
        total = nan if spread.choice_std is None else hypot(spread.seed_std, spread.choice_std)
        return {"procedure": nan if isnan(total) else smallest_detectable(total, seeds, comparisons=comparing)}
    level, choice_std = LEVEL / comparing, nan if spread.choice_std is None else spread.choice_std
    errors = {
        "procedure": (sqrt(choice_std**2 / searches + spread.seed_std**2 / seeds), searches - 1),
        "settings": (spread.seed_std / sqrt(seeds), seeds - searches),
    }
    return {name: error * detectable_by_t(freedom, level=level) for name, (error, freedom) in errors.items()}


def smallest_difference(study: StudySpec, earlier: Earlier) -> str:
    """Return a line for --dry-run: the smallest difference that `study` can find."""
    found = ", ".join(f"of the {name} {_points(value)}" for name, value in detectable(study, earlier.spread).items())
    return f"smallest difference found with 80 % power after Holm: {found} ({spread_text(earlier)})"


def _points(value: float) -> str:
    if isnan(value):
        return "not known, since that study did not repeat its searches"
    return "none" if isinf(value) else f"{value:.2f} points"


def spread_text(earlier: Earlier) -> str:
    """Return where a spread is from, and what it is."""
    choice = earlier.spread.choice_std
    luck = "" if choice is None else f", {choice:.2f} by the search"
    return f"{earlier.folder}: a paired difference spreads by {earlier.spread.seed_std:.2f} points by the seed{luck}"
