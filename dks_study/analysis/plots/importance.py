"""Which searched axis mattered, by three evaluators that mean different things: trust what they agree on."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from dks_study.analysis.plots.searches import parallel_coordinates
from dks_study.analysis.plots.style import DOUBLE_COLUMN_IN, blank, legend_below, named, styled
from dks_study.study.results import Results

FEWEST_TRIALS = 10  # of an arm; below, an importance would be noise with a bar around it
BEST_FRACTION = 0.25
GREYS = ("#222222", "#777777", "#BBBBBB")  # colours stand for arms
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
MEANING = {
    "PED-ANOVA": "how differently the best quarter of the trials is spread over the axis than all trials are"
    " (Watanabe et al. 2023): what it takes to be good; a share of all axes",
    "forest": "how much worse a random forest predicts the error when the axis is shuffled (Breiman 2001), interactions"
    " included: what drives the error anywhere in the range; a share of all axes",
    "Spearman": "absolute rank correlation of the value with the error: monotone effects alone; 0 to 1, no share",
}


def importances(results: Results) -> pd.DataFrame:
    """Return arm, axis, evaluator, importance (0 to 1) and trials for each arm with ten or more complete searches.

    An axis that only some trials of the arm have (`when`) is left out, one tied to another (`same_as`) too.

    Values are compared by their place on the axis, so logarithmic axes logarithmically and choices by their order.
    """
    frame = parallel_coordinates(results)
    rows = []
    for arm in results.study.arms if len(frame) else ():
        mine = frame[frame["arm"] == arm]
        placed = [key for key in results.study.axes_of(arm) if f"at/{key}" in frame]
        keys = [key for key in placed if mine[f"at/{key}"].notna().all()]
        if len(mine) < FEWEST_TRIALS or not keys or mine["error"].nunique() < 2:
            continue
        places = mine[[f"at/{key}" for key in keys]].to_numpy(dtype=float)
        for name, evaluate in EVALUATORS.items():
            found = evaluate(places, mine["error"].to_numpy(dtype=float))
            rows += [(arm, key, name, float(value), len(mine)) for key, value in zip(keys, found, strict=True)]
    return pd.DataFrame(rows, columns=["arm", "axis", "evaluator", "importance", "trials"])


def draw_importances(frame: pd.DataFrame) -> Figure:
    """Draw `importances`, a panel per arm: axes as rows, a bar for each evaluator."""
    arms, keys = list(pd.unique(frame["arm"])), list(pd.unique(frame["axis"]))
    with styled():
        columns = min(5, len(arms))
        rows = math.ceil(len(arms) / columns)
        figure, panels = blank(DOUBLE_COLUMN_IN, 0.5 + rows * (0.4 + 0.36 * len(keys)), rows, columns, shared=True)
        for axes in panels[len(arms) :]:
            axes.set_visible(False)
        for axes, arm in zip(panels, arms, strict=False):
            for at, (name, colour) in enumerate(zip(MEANING, GREYS, strict=True)):
                mine = frame[(frame["arm"] == arm) & (frame["evaluator"] == name)]
                y = mine["axis"].map(keys.index) + 0.26 * (at - 1)
                axes.barh(y, mine["importance"], height=0.24, color=colour, label=name)
            axes.set(title=arm, xlim=(0, 1))
            axes.grid(axis="y", visible=False)
        panels[0].set_yticks(range(len(keys)), keys)
        panels[0].set_ylim(len(keys) - 0.5, -0.5)
        legend_below(figure, named(panels[:1]))
    return figure


def _ped_anova(places: Array, error: Array) -> Array:
    """Return each axis's share of the Pearson divergence between the best trials and all, over equal-count bins."""
    best = error <= np.quantile(error, BEST_FRACTION)
    bins = int(np.clip(best.sum() // 2, 2, 8))
    found = np.zeros(places.shape[1])
    for at, column in enumerate(places.T):
        edges = np.unique(np.quantile(column, np.linspace(0, 1, bins + 1)[1:-1]))
        where = np.searchsorted(edges, column, side="right")
        every = np.bincount(where, minlength=bins) / len(column)
        chosen = np.bincount(where[best], minlength=bins) / best.sum()
        used = every > 0
        found[at] = float(np.sum((chosen[used] / every[used] - 1) ** 2 * every[used]))
    return _shares(found)


def _forest(places: Array, error: Array) -> Array:
    from sklearn.ensemble import RandomForestRegressor  # takes half a second: not in reports without an importance
    from sklearn.inspection import permutation_importance

    model = RandomForestRegressor(n_estimators=100, min_samples_leaf=2, random_state=0).fit(places, error)
    found = permutation_importance(model, places, error, n_repeats=5, random_state=0).importances_mean
    return _shares(np.maximum(found, 0))


def _spearman(places: Array, error: Array) -> Array:
    constant = [len(np.unique(column)) < 2 for column in places.T]
    return np.array(
        [
            0.0 if same else abs(spearmanr(column, error).statistic)
            for column, same in zip(places.T, constant, strict=True)
        ]
    )


def _shares(values: Array) -> Array:
    total = values.sum()
    return values / total if total > 0 else values


EVALUATORS: dict[str, Callable[[Array, Array], Array]] = {
    "PED-ANOVA": _ped_anova,
    "forest": _forest,
    "Spearman": _spearman,
}
