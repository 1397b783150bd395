"""What the searches chose, and which choices lie at the edge of what was searched."""

from collections.abc import Iterator
from typing import Literal

import pandas as pd

from dks_study.analysis.rows import TUNED, choice_of, repeat_of, table_rows
from dks_study.analysis.tables.grid import Cell, Grid
from dks_study.spec.search import AxisSpec
from dks_study.spec.trial import Scalar
from dks_study.study.results import Results

PREFIX = "setting/"


def chosen_settings(results: Results) -> pd.DataFrame:
    """Return what each tuned row was confirmed with: arm (the row), search (0, 1, ...), and the searched keys.

    One line per row and independent search; empty where nothing was searched.
    """
    trials = results.trials
    keys = [str(key) for key in trials.columns if str(key).startswith(PREFIX)]
    confirmed = trials[trials["phase"] == "confirm"] if len(trials) else trials
    names = {"row": "arm"} | {key: key.removeprefix(PREFIX) for key in keys}
    if not keys or not len(confirmed):
        return pd.DataFrame(columns=["arm", "search", *(names[key] for key in keys)])
    tuned = confirmed[choice_of(confirmed) == TUNED]
    lines = tuned.assign(search=repeat_of(tuned)).groupby(["row", "search"], sort=False)[keys].first().reset_index()
    order = [row.name for row in table_rows(results)]
    lines = lines.sort_values(["row", "search"], key=lambda each: each.map(order.index) if each.name == "row" else each)
    searched = lines[lines[keys].notna().any(axis=1)]
    return searched.rename(columns=names).reset_index(drop=True)


def setting_grid(settings: pd.DataFrame) -> Grid:
    """Return `chosen_settings` as a table; the search is named where there are several."""
    several = settings["search"].nunique() > 1
    keys = [str(key) for key in settings.columns if key != "search" or several]
    rows = tuple(
        tuple(Cell("" if pd.isna(row[key]) else _short(row[key])) for key in keys)
        for row in settings.to_dict("records")
    )
    return Grid("Chosen on validation", tuple(keys), rows)


def edges(results: Results) -> Iterator[str]:
    """Say of each choice that lies at an end of its axis, at which; an axis that was widened counts as widened."""
    settings = chosen_settings(results)
    arms = {row.name: row.arm for row in table_rows(results)}
    for name, lines in settings.groupby("arm", sort=False):
        for key, axis in results.study.axes_of(arms[str(name)]).items():
            if axis.same_as or key not in lines:
                continue
            known = lines[lines[key].notna()]
            found = [
                (value, end)
                for search, value in zip(known["search"], known[key], strict=True)
                if (end := _searched(results, arms[str(name)], int(search), key, axis).edge(value))
            ]
            if found:
                yield _edge(str(name), key, found, len(known))


def was_widened(values: "pd.Series[float]", axis: AxisSpec) -> bool:
    """Whether a search that tried `values` of `axis` went beyond its first range."""
    bounds = axis.float_range or axis.int_range
    return bounds is not None and bool(((values < bounds[0]) | (values > bounds[1])).any())


def _searched(results: Results, arm: str, search: int, key: str, axis: AxisSpec) -> AxisSpec:
    """Return the axis with the range that this search had in the end."""
    trials = results.trials
    mine = (trials["phase"] == "search") & (trials["arm"] == arm) & (repeat_of(trials) == search)
    return axis.widened if was_widened(trials.loc[mine, PREFIX + key], axis) else axis


def _edge(name: str, key: str, found: list[tuple[Scalar, Literal["low", "high"]]], searches: int) -> str:
    where = " and ".join(f"{_short(value)} ({end})" for value, end in dict.fromkeys(found))
    times = "" if searches == 1 else f" in {len(found)} of {searches} searches"
    return f"{key} of {name} lies at the edge of its range{times}: {where}."


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
