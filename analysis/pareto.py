"""The Pareto fronts of a search with several objectives: in each arm, the settings that none beats in everything."""

from collections.abc import Sequence

import pandas as pd

from dks_study.objectives import MAXIMISED, front, gains
from dks_study.results import Results


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
    confirmed = trials[trials["phase"] == "confirm"]
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


def pareto_markdown(table: pd.DataFrame, objectives: Sequence[str]) -> str:
    """Return the fronts as a section of Markdown."""
    how = ", ".join(f"{name} ({'more' if MAXIMISED[name] else 'less'} is better)" for name in objectives)
    shown = table.rename(columns=lambda key: str(key).removeprefix("setting/"))
    shown = shown.map(_shown)
    note = (
        "One row per setting that no other of its arm beats in everything, in the search; `row` where it is confirmed."
    )
    return (
        "\n".join(
            ["### Pareto fronts", "", f"{how}.", "", shown.to_markdown(index=False, disable_numparse=True), "", note]
        )
        + "\n"
    )


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if pd.isna(value) else f"{value:,.0f}" if value >= 1e4 else f"{value:.4g}"
