"""How hard each arm is to tune: error over the nuisance axes with what was chosen, and error against tuning budget."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dks_study.analysis.plots.style import (
    DOUBLE_COLUMN_IN,
    PLAIN,
    SINGLE_COLUMN_IN,
    SPARSE,
    blank,
    legend_below,
    legend_beside,
    named,
    styled,
)
from dks_study.analysis.rows import repeat_of
from dks_study.analysis.statistics.budget import best_of, budget_curve
from dks_study.analysis.statistics.paired import mean_interval
from dks_study.analysis.tables.settings import PREFIX, chosen_settings, was_widened
from dks_study.analysis.tables.where import DRAWN
from dks_study.spec.looks import looks
from dks_study.spec.objectives import ACCURACY
from dks_study.spec.search import AxisSpec
from dks_study.spec.space import arm_space, sampler_of
from dks_study.study.results import Results, ResultsError

LEAST_ERROR = 0.1  # % that a colour tells from less
INDEPENDENT = ("random", "qmc")  # samplers whose trials do not look at one another


def nuisance_axes(results: Results) -> dict[str, AxisSpec]:
    """Return the axes that are tuned in every arm, by dotted key."""
    return {key: axis for key, axis in results.study.search.axes.items() if axis.role == "nuisance"}


def nuisance_errors(results: Results) -> pd.DataFrame:
    """Return one row per arm and setting that was tried at full length.

    Columns: arm, the searched keys (dotted), error (validation, %, mean over the seeds of search and race), seeds,
    chosen (how many of the arm's searches chose it). Empty where there is no nuisance axis, or trials were shorter
    than what they choose for.
    """
    keys, trials = list(nuisance_axes(results)), _full_length(results)
    if not keys or not len(trials):
        return pd.DataFrame()
    settings = [str(key) for key in trials.columns if str(key).startswith(PREFIX)]
    errors = trials[["arm", *settings]].assign(error=100 - trials[ACCURACY])
    groups = errors.rename(columns=lambda key: str(key).removeprefix(PREFIX))
    columns = [key.removeprefix(PREFIX) for key in settings]
    frame = groups.groupby(["arm", *columns], dropna=False, sort=False)["error"].agg(error="mean", seeds="count")
    picked = chosen_settings(results).groupby(["arm", *columns], dropna=False).size().rename("chosen")
    joined: pd.DataFrame = frame.join(picked).fillna({"chosen": 0}).astype({"chosen": int}).reset_index()
    return joined


def draw_nuisance_errors(results: Results) -> Figure:
    """Draw `nuisance_errors`: two axes as a map for each arm, else error over each axis; rings are what was chosen."""
    frame, axes = nuisance_errors(results), nuisance_axes(results)
    return _draw_maps(results, frame, axes) if len(axes) == 2 else _draw_profiles(results, frame, axes)


def _draw_maps(results: Results, frame: pd.DataFrame, axes: dict[str, AxisSpec]) -> Figure:
    arms, (across, up) = [arm for arm in results.study.arms if arm in set(frame["arm"])], axes
    with styled():
        columns = min(3, len(arms))
        rows = math.ceil(len(arms) / columns)
        figure, panels = blank(DOUBLE_COLUMN_IN, 0.6 + 1.9 * rows, rows, columns, shared=True)
        least = max(frame["error"].min(), LEAST_ERROR)
        norm = LogNorm(least, max(frame["error"].max(), 2 * least))
        for panel in panels[len(arms) :]:
            panel.set_visible(False)
        for at, (panel, arm) in enumerate(zip(panels, arms, strict=False)):
            mine = frame[frame["arm"] == arm].sort_values("error", ascending=False)  # the lowest on top
            points = panel.scatter(mine[across], mine[up], c=mine["error"], norm=norm, cmap="viridis_r", s=34)
            picked = mine[mine["chosen"] > 0]
            size = 60 + 40 * picked["chosen"]  # of rings, some of which lie at the edge
            panel.scatter(picked[across], picked[up], size, facecolors="none", edgecolors="#D55E00", clip_on=False)
            panel.set_title(arm)
            _scales(panel, axes[across], axes[up])
            panel.set_xlabel(across if at + columns >= len(arms) else "")
            panel.set_ylabel(up if at % columns == 0 else "")
            panel.tick_params(which="both", labelbottom=at + columns >= len(arms))
        bar = figure.colorbar(points, ax=panels, label="validation error (%)", format=PLAIN)
        bar.ax.yaxis.set_minor_formatter(PLAIN)
    return figure


def _draw_profiles(results: Results, frame: pd.DataFrame, axes: dict[str, AxisSpec]) -> Figure:
    with styled():
        figure, panels = blank(DOUBLE_COLUMN_IN, 2.6, 1, len(axes))
        for panel, (key, axis) in zip(panels, axes.items(), strict=True):
            for arm, look in looks(results.study.arms).items():
                mine = frame[frame["arm"] == arm]
                panel.plot(mine[key], mine["error"], look.marker, color=look.colour, markersize=3.5, label=arm)
                picked = mine[mine["chosen"] > 0]
                panel.scatter(picked[key], picked["error"], s=70, facecolors="none", edgecolors=look.colour)
            _scales(panel, axis)
            panel.set(xlabel=key, ylabel="validation error (%)" if panel is panels[0] else "", ylim=(0, None))
        legend_below(figure, named(panels[:1]))
    return figure


def _scales(panel: Axes, across: AxisSpec, up: AxisSpec | None = None) -> None:
    for axis, ruler, scale in ((across, panel.xaxis, panel.set_xscale), (up, panel.yaxis, panel.set_yscale)):
        if axis is not None and axis.log:
            scale("log")
            ruler.set_major_formatter(PLAIN)
            ruler.set_minor_formatter(SPARSE)
        elif axis is not None and axis.int_range:
            ruler.set_major_locator(MaxNLocator(integer=True))


def budget_curves(results: Results) -> pd.DataFrame:
    """Return what the best of 1, 2, ... search trials is expected to reach: arm, trials, expected, low, high, drawn.

    Validation errors (%) of one seed; low and high hold 80 of 100 searches (`statistics.budget`). Only trials that a
    random or quasi-random sampler drew, all searches of an arm together: neither the arm as written and other given
    points, nor what came after an axis was widened. Empty where searches learn from their trials, aim at something
    else, or are short.
    """
    curves = []
    trials = _full_length(results)
    for arm in results.study.arms if len(trials) else ():
        errors = [error for search in _drawn(results, arm, trials).values() for error in search]
        curve = pd.DataFrame([vars(point) for point in budget_curve(errors)])
        curves.append(curve.assign(arm=arm, drawn=len(errors)))
    return pd.concat(curves, ignore_index=True) if any(map(len, curves)) else pd.DataFrame()


def expected_effects(results: Results, arm: str, base: str, budgets: Sequence[int]) -> pd.DataFrame:
    """Return how far the best of so many search trials is expected to be from that of `base`: lines as of `effects`.

    Validation errors of one seed, from the trials that `budget_curves` takes; the interval is that of the searches'
    differences. No p is adjusted.

    Raises:
        ResultsError: if two searches of both arms did not draw so many trials.
    """
    trials, lines = _full_length(results), []
    of_base, of_arm = (_drawn(results, each, trials) if len(trials) else {} for each in (base, arm))
    pairs = [(of_base[search], of_arm[search]) for search in of_base if search in of_arm]
    for budget in budgets:
        known = [pair for pair in pairs if min(map(len, pair)) >= budget]
        if len(known) < 2:
            raise ResultsError(f"{results.study.name}: holds no two searches of {arm} that drew {budget} trials")
        errors = np.array([[best_of(each, budget).expected for each in pair] for pair in known])
        differences, (base_mean, arm_mean) = errors[:, 1] - errors[:, 0], errors.mean(axis=0)
        found = mean_interval(differences)
        line = {"label": f"best of {budget}", "n": len(known), "base": base_mean, "arm": arm_mean, "of": DRAWN}
        line |= {"mean": differences.mean(), "low": found.low, "high": found.high, "p_holm": math.nan}
        lines.append(line)
    return pd.DataFrame(lines)


def draw_budget_curves(results: Results) -> Figure:
    """Draw `budget_curves`: a line for each arm, and the band that holds 80 of 100 searches."""
    frame = budget_curves(results)
    with styled():
        figure, (axes,) = blank(SINGLE_COLUMN_IN * 1.35, 2.6)
        for arm, look in looks(results.study.arms).items():
            mine = frame[frame["arm"] == arm]
            axes.plot(
                mine["trials"], mine["expected"], look.line, color=look.colour, marker=look.marker, ms=3, label=arm
            )
            axes.fill_between(mine["trials"], mine["low"], mine["high"], color=look.colour, alpha=0.12, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(PLAIN)
        axes.set(xlabel="search trials", ylabel="expected lowest\nvalidation error (%)")
        axes.set_yscale("log" if frame["expected"].min() > 0 else "linear")
        axes.yaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_minor_formatter(SPARSE)
        legend_beside(figure, axes)
    return figure


def _full_length(results: Results) -> pd.DataFrame:
    """Return the complete search and race trials, if they are as long as what they choose for and aim at accuracy."""
    study, trials = results.study, results.trials
    full = study.search.epochs in (None, study.trial.epochs)
    if not len(trials) or not full or study.search.objectives != (ACCURACY,) or ACCURACY not in trials:
        return pd.DataFrame()
    return trials[trials["phase"].isin(("search", "race")) & (trials["status"] == "complete")]


def _drawn(results: Results, arm: str, trials: pd.DataFrame) -> dict[int, list[float]]:
    """Return the validation errors (%) of the trials that each search of an arm drew, but those of widened axes."""
    study = results.study
    space = arm_space(study, arm)
    if not space.axes or sampler_of(study, space) not in INDEPENDENT:
        return {}
    given, count = len(space.queue(study.search.points)), study.search.trials or 0
    half = math.ceil(count / 2 / study.search.parallel) * study.search.parallel
    mine = trials[(trials["arm"] == arm) & (trials["phase"] == "search")]
    errors: dict[int, list[float]] = {}
    for repeat, search in mine.groupby(repeat_of(mine)):
        wide = any(was_widened(search[f"setting/{key}"], axis) for key, axis in space.axes.items())
        kept = search[(search["index"] >= given) & (search["index"] < (half if wide else count))]
        errors[int(repeat)] = (100 - kept[ACCURACY]).tolist()
    return errors
