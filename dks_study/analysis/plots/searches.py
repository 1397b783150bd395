"""How each arm was searched: validation error by trial, and every trial as a line through its values."""

import math
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from dks_study.analysis.plots.style import DOUBLE_COLUMN_IN, SINGLE_COLUMN_IN, blank, legend_beside, styled
from dks_study.analysis.rows import repeat_of
from dks_study.analysis.tables.pareto import pareto_table
from dks_study.analysis.tables.settings import was_widened
from dks_study.spec.looks import looks
from dks_study.spec.objectives import ACCURACY
from dks_study.spec.search import AxisSpec
from dks_study.study.results import Results


def search_history(results: Results) -> pd.DataFrame:
    """Return complete search trials: arm, repeat, index, setting/*, further objectives, error, best (so far in the
    search).

    `error` is the validation error (%), or, where the search aims at something else, the first thing it aims at; less
    is better in all of them.
    """
    trials, objective = results.trials, results.study.search.objectives[0]
    if not len(trials) or objective not in trials:
        return pd.DataFrame()
    found = trials[(trials["phase"] == "search") & (trials["status"] == "complete")]
    found = found.assign(repeat=repeat_of(found)).sort_values(["arm", "repeat", "index"])
    settings = [str(key) for key in found.columns if str(key).startswith("setting/")]
    costs = list(results.study.search.objectives[1:])
    frame = found[["arm", "repeat", "index", *settings, *costs]].assign(
        error=100 - found[objective] if objective == ACCURACY else found[objective]
    )
    return frame.assign(best=frame.groupby(["arm", "repeat"])["error"].cummin()).reset_index(drop=True)


def draw_search_history(results: Results) -> Figure:
    """Draw each arm's trials as points and the best so far of each of its searches as a step line."""
    frame = search_history(results)
    with styled():
        figure, (axes,) = blank(SINGLE_COLUMN_IN * 1.35, 2.5)
        for arm, look in looks(results.study.arms).items():
            mine = frame[frame["arm"] == arm]
            if not len(mine):
                continue
            axes.plot(mine["index"], mine["error"], look.marker, color=look.colour, markersize=3, alpha=0.5)
            for repeat, search in mine.groupby("repeat"):
                named = arm if repeat == 0 else None
                axes.step(search["index"], search["best"], look.line, where="post", color=look.colour, label=named)
        axes.set(xlabel="search trial", ylabel=f"{_objective_name(results)}\nline: best so far")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_beside(figure, axes)
    return figure


def draw_search_front(results: Results) -> Figure:
    """Draw the search trials of two objectives, and each arm's Pareto front as a step line."""
    cost = results.study.search.objectives[1]
    frame, fronts = search_history(results), pareto_table(results)
    with styled():
        figure, (axes,) = blank(SINGLE_COLUMN_IN * 1.35, 2.5)
        for arm, look in looks(results.study.arms).items():
            mine, front = frame[frame["arm"] == arm], fronts[fronts["arm"] == arm].sort_values(cost)
            if not len(mine):
                continue
            axes.plot(mine[cost], mine["error"], look.marker, color=look.colour, markersize=3, alpha=0.5)
            first = front[results.study.search.objectives[0]]
            errors = 100 - first if results.study.search.objectives[0] == ACCURACY else first
            axes.step(front[cost], errors, look.line, where="post", color=look.colour, label=arm)
        axes.set(xlabel=cost, ylabel=f"{_objective_name(results)}\nline: Pareto front")
        axes.xaxis.set_major_formatter(EngFormatter())
        legend_beside(figure, axes)
    return figure


def parallel_coordinates(results: Results) -> pd.DataFrame:
    """Return `search_history` with the place of every value on its axis, 0 to 1: columns at/KEY and at/error.

    A logarithmic axis is divided logarithmically, choices stand at equal distances, 0 is the lowest error.
    """
    frame = search_history(results)
    for key, axis in results.study.search.axes.items():
        if f"setting/{key}" in frame and not axis.same_as:
            reached = _reached(results, frame, key)
            frame[f"at/{key}"] = [_place(value, reached) for value in frame[f"setting/{key}"]]
    if len(frame):
        low, high = frame["error"].min(), frame["error"].max()
        frame["at/error"] = (frame["error"] - low) / ((high - low) or 1.0)
    return frame


def draw_parallel_coordinates(results: Results) -> Figure:
    """Draw a line per search trial through its values and its validation error; each arm's lowest is thick."""
    frame = parallel_coordinates(results)
    keys = [key for key in results.study.search.axes if f"at/{key}" in frame]
    columns = [f"at/{key}" for key in (*keys, "error")]
    x = np.arange(len(columns))
    with styled():
        figure, (axes,) = blank(DOUBLE_COLUMN_IN, 2.8)
        for arm, look in looks(results.study.arms).items():
            mine = frame[frame["arm"] == arm]
            lines = mine[columns].to_numpy(dtype=float)
            if not len(lines):
                continue
            there = ~np.isnan(lines).all(axis=0)  # an arm may lack an axis: its lines go past it
            faint = float(np.clip(8 / len(lines), 0.08, 0.45))
            segments = [np.column_stack((x[there], line)) for line in lines[:, there]]
            axes.add_collection(
                LineCollection(segments, linestyles=look.line, colors=look.colour, linewidths=0.7, alpha=faint)
            )
            best = lines[mine["error"].argmin(), there]
            axes.plot(x[there], best, look.line, color=look.colour, marker=look.marker, linewidth=2, label=arm)
        _label_ends(axes, [*(_ends(_reached(results, frame, key)) for key in keys), _error_ends(frame)])
        axes.set_xticks(x, [*map(_in_lines, keys), _objective_name(results)])
        axes.set(yticks=[], ylim=(-0.12, 1.12), xlim=(-0.2, len(columns) - 0.6))
        axes.spines["left"].set_visible(False)
        legend_beside(figure, axes)
    return figure


def _in_lines(key: str) -> str:
    """Return `key` in lines short enough for six axes side by side."""
    section, dot, name = key.rpartition(".")
    words = wrap(name.replace("_", "_ "), 10, break_long_words=False)
    return "\n".join([*([section + dot] if dot else []), *(line.replace("_ ", "_") for line in words)])


def _reached(results: Results, frame: pd.DataFrame, key: str) -> AxisSpec:
    """Return an axis with the range that some search had in the end."""
    axis = results.study.search.axes[key]
    return axis.widened if was_widened(frame[f"setting/{key}"], axis) else axis


def _place(value: float | str | None, axis: AxisSpec) -> float:
    if value is None or pd.isna(value):
        return math.nan
    if axis.choice:
        return axis.choice.index(value) / (len(axis.choice) - 1) if value in axis.choice else math.nan
    low, high = (float(end) for end in axis.float_range or axis.int_range or (0, 1))
    place = float(value)
    if axis.log:
        low, high, place = math.log(low), math.log(high), math.log(place)
    return (place - low) / (high - low)


def _ends(axis: AxisSpec) -> tuple[str, str]:
    ends = axis.ends
    low, high = (f"{end:g}" if isinstance(end, float) else str(end) for end in (ends[0], ends[-1]))
    return low, high


def _error_ends(frame: pd.DataFrame) -> tuple[str, str]:
    return f"{frame['error'].min():.4g}", f"{frame['error'].max():.4g}"


def _objective_name(results: Results) -> str:
    objective = results.study.search.objectives[0]
    return "validation error (%)" if objective == ACCURACY else objective


def _label_ends(axes: Axes, ends: list[tuple[str, str]]) -> None:
    for at, (low, high) in enumerate(ends):
        axes.axvline(at, color="#999999", linewidth=0.8)
        axes.text(at, -0.04, low, ha="center", va="top", fontsize=7)
        axes.text(at, 1.04, high, ha="center", va="bottom", fontsize=7)
