"""What a study that is not run yet can show, from the spread of an earlier one: for --dry-run and --plan-for."""

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot, inf, isinf, isnan, nan, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from dks_study.analysis.plots.tuning import budget_curves
from dks_study.analysis.report.reach import compared_arms
from dks_study.analysis.rows import TUNED
from dks_study.analysis.statistics.planning import (
    Plan,
    Spread,
    detectable_by_t,
    expected_half_width,
    plans,
    seeds_for_precision,
    smallest_detectable,
    trials_for_gain,
)
from dks_study.analysis.statistics.signflip import LEVEL
from dks_study.analysis.tables.comparisons import comparisons
from dks_study.spec.study import StudySpec
from dks_study.study.results import Results, load_results

ENOUGH_SEARCHES = 4  # fewer are proposed for no procedure: t on their means has too few degrees of freedom


@dataclass(frozen=True)
class Earlier:
    """What an earlier study of the same question tells: spread of its differences, trials that its arms needed."""

    folder: Path
    spread: Spread
    results: Results


def read_earlier(folders: list[Path]) -> Earlier | None:
    """Return the first of `folders` whose study has two paired trials or more in some comparison."""
    for folder in folders:
        results = load_results(folder)
        if (spread := spread_of(results)) is not None:
            return Earlier(folder, spread, results)
    return None


def spread_of(results: Results) -> Spread | None:
    """Return the spread of a paired difference of rows as tuned: root mean squares over them; None if nothing is known.

    With a search for each seed choice and seed cannot be told apart: all of the spread is the seed's then.
    """
    compared = comparisons(results)
    tuned = compared[compared["choice"] == TUNED] if len(compared) else compared
    if not len(tuned) or not tuned["std"].gt(0).any():
        return None
    apart = tuned["seed_std"].notna().all()
    seed_std = _root_mean_square(tuned["seed_std"] if apart else tuned["std"])
    if apart and tuned["choice_std"].notna().all():
        return Spread(seed_std, _root_mean_square(tuned["choice_std"]))
    return Spread(seed_std, None if apart else 0.0)


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
    return f"smallest difference found with 80 % power after Holm: {found} ({_spread_text(earlier)})"


def _points(value: float) -> str:
    if isnan(value):
        return "not known, since that study did not repeat its searches"
    return "none" if isinf(value) else f"{value:.2f} points"


def proposals(study: StudySpec, earlier: Earlier, half_width: float) -> dict[str, tuple[Plan, StudySpec]]:
    """Return by estimand a plan with a 95 % interval of at most +- `half_width` points, and the study changed to it.

    Of the procedure it is the one of the fewest epochs among those of four searches or more, in units of what a
    search and what a seed of all arms cost.
    """
    trials = _trials(study, earlier, half_width)
    fewest = seeds_for_precision(earlier.spread.seed_std, half_width)
    settings = Plan(fewest, 1, expected_half_width(earlier.spread.seed_std, fewest))
    found = {"settings": (settings, _changed(study, settings, trials))}
    search = (trials or 0) + study.search.finalists * study.search.race_seeds
    enough = [plan for plan in plans(earlier.spread, half_width) if plan.searches >= ENOUGH_SEARCHES]
    if enough:
        cheapest = min(enough, key=lambda plan: plan.searches * search + 2 * plan.seeds)
        found["procedure"] = (cheapest, _changed(study, cheapest, trials))
    return found


def proposal_table(
    study: StudySpec, earlier: Earlier, half_width: float, cost: Callable[[StudySpec], tuple[int, float]]
) -> Table:
    """Return `proposals` as a table; `cost` gives the trials and epochs of a study."""
    header = ("claim of the", "report seeds", "searches", "trials each", "95 % interval", "trials", "epochs")
    table = Table(*header, box=None)
    for estimand, (plan, changed) in proposals(study, earlier, half_width).items():
        trials, epochs = cost(changed)
        each = "every cell" if changed.search.trials is None else str(changed.search.trials)
        width, size = f"±{plan.half_width:.2f}", (str(trials), f"about {epochs:.0f}")
        table.add_row(estimand, str(plan.seeds), str(plan.searches), each, width, *size)
    return table


def plan_notes(study: StudySpec, earlier: Earlier, half_width: float) -> list[str]:
    """Return what stands below the table of proposals: where its numbers come from, and what is not known."""
    notes = [f"expected for normal differences, each as wide as in {_spread_text(earlier)}"]
    if earlier.spread.choice_std is None:
        notes.append("of the procedure: not known, since that study did not repeat its searches (search.repeats)")
    if study.search.axes and study.search.trials and not len(budget_curves(earlier.results)):
        notes.append("trials: as the study has them; how many an arm needs is not known without random or qmc trials")
    return notes


def _trials(study: StudySpec, earlier: Earlier, gain: float) -> int | None:
    """Return how many search trials every arm needs for a choice that twice as many improve by less than `gain`."""
    curves = budget_curves(earlier.results)
    if not len(curves) or not study.search.trials:
        return study.search.trials
    needed = [trials_for_gain(curve["expected"].tolist(), gain) for _, curve in curves.groupby("arm")]
    known = [trials for trials in needed if trials is not None]
    enough = max(known) if len(known) == len(needed) else int(curves["trials"].max())
    return max(enough + 1, study.search.finalists)  # and the arm as written, which comes first


def _changed(study: StudySpec, plan: Plan, trials: int | None) -> StudySpec:
    search = study.search.model_copy(update={"repeats": plan.searches, "trials": trials})
    return study.model_copy(update={"search": search, "report_seeds": tuple(range(plan.seeds))})


def _spread_text(earlier: Earlier) -> str:
    choice = earlier.spread.choice_std
    luck = "" if choice is None else f", {choice:.2f} by the search"
    return f"{earlier.folder}: a paired difference spreads by {earlier.spread.seed_std:.2f} points by the seed{luck}"


def _root_mean_square(values: "pd.Series[float]") -> float:
    return float(np.sqrt(np.mean(values**2)))
