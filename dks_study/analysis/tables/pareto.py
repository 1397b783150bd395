"""The Pareto fronts of a search with several objectives: in each arm, the settings that none beats in everything."""

from collections.abc import Sequence

import pandas as pd

from dks_study.analysis.rows import TUNED, choice_of
from dks_study.analysis.tables.grid import Cell, Grid
from dks_study.spec.objectives import MAXIMISED, front, gains
from dks_study.study.results import Results


def pareto_table(results: Results) -> pd.DataFrame:
    """Return one row per member of an arm's front: arm, seeds, the mean of each objective, settings, and `row`.

    `row` is the row of the study's table in which the member was confirmed, if it was.
    """
    objectives = list(results.study.search.objectives)
    trials = results.trials
    if not len(trials):
        return pd.DataFrame(columns=["arm", "row", "seeds", *objectives])
    settings = [key for key in trials.columns.astype(str) if key.startswith("setting/")]
    searched = trials[(trials["phase"] == "search") & (trials["status"] == "complete")]
    confirmed = trials[(trials["phase"] == "confirm") & (choice_of(trials) == TUNED)]
    members = []
    for arm in results.study.arms:
        mine = searched[searched["arm"] == arm].sort_values("index")
        groups = [group for _, group in mine.groupby(settings, dropna=False, sort=False)] if settings else []
        means = [group[objectives].mean() for group in groups]
        points = [gains(objectives, tuple(mean)) for mean in means]
        for i in front(points):
            chosen = groups[i].iloc[0][settings]
            known = {"arm": arm, "row": _row(confirmed[confirmed["arm"] == arm], chosen), "seeds": len(groups[i])}
            members.append(pd.concat([pd.Series(known, dtype=object), means[i], chosen]))
    return pd.DataFrame(members, columns=["arm", "row", "seeds", *objectives, *settings])


def _row(confirmed: pd.DataFrame, chosen: pd.Series) -> str:
    for _, trial in confirmed.iterrows():
        if trial[chosen.index].equals(chosen):
            return str(trial["row"])
    return ""


def pareto_grid(table: pd.DataFrame, objectives: Sequence[str]) -> Grid:
    """Return the fronts, as `pareto_table` gives them, as a table to show."""
    how = ", ".join(f"{name} ({'more' if MAXIMISED[name] else 'less'} is better)" for name in objectives)
    header = tuple(str(key).removeprefix("setting/") for key in table.columns)
    rows = tuple(tuple(Cell(_shown(value)) for value in row) for row in table.itertuples(index=False))
    note = (
        "One row per setting that no other of its arm beats in everything, in the search; row: where it is confirmed."
    )
    return Grid("Pareto fronts", header, rows, (f"{how}.", note))


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if pd.isna(value) else f"{value:,.0f}" if value >= 1e4 else f"{value:.4g}"
