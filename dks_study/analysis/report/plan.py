"""How many seeds, searches and trials a wanted precision takes, from the spread of an earlier study: --plan-for."""

from collections.abc import Callable

from rich.table import Table

from dks_study.analysis.plots.tuning import budget_curves
from dks_study.analysis.report.detect import Earlier, spread_text
from dks_study.analysis.statistics.planning import (
    Plan,
    expected_half_width,
    plans,
    seeds_for_precision,
    trials_for_gain,
)
from dks_study.spec.study import StudySpec
from dks_study.study.results import load_results

ENOUGH_SEARCHES = 4  # fewer are proposed for no procedure: t on their means has too few degrees of freedom


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
    notes = [f"expected for normal differences, each as wide as in {spread_text(earlier)}"]
    if earlier.spread.choice_std is None:
        notes.append("of the procedure: not known, since that study did not repeat its searches (search.repeats)")
    if study.search.axes and study.search.trials and not len(budget_curves(load_results(earlier.folder))):
        notes.append("trials: as the study has them; how many an arm needs is not known without random or qmc trials")
    return notes


def _trials(study: StudySpec, earlier: Earlier, gain: float) -> int | None:
    """Return how many search trials every arm needs for a choice that twice as many improve by less than `gain`."""
    curves = budget_curves(load_results(earlier.folder))
    if not len(curves) or not study.search.trials:
        return study.search.trials
    needed = [trials_for_gain(curve["expected"].tolist(), gain) for _, curve in curves.groupby("arm")]
    known = [trials for trials in needed if trials is not None]
    enough = max(known) if len(known) == len(needed) else int(curves["trials"].max())
    return max(enough + 1, study.search.finalists)  # and the arm as written, which comes first


def _changed(study: StudySpec, plan: Plan, trials: int | None) -> StudySpec:
    search = study.search.model_copy(update={"repeats": plan.searches, "trials": trials})
    return study.model_copy(update={"search": search, "report_seeds": tuple(range(plan.seeds))})
