"""What the study found: paired differences as a forest plot, placements as a heat map, error against cost."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from dks_study.analysis.plots.style import FAINT, SINGLE_COLUMN_IN, blank, legend_beside, row_looks, styled
from dks_study.analysis.rows import TUNED, table_rows
from dks_study.analysis.tables.ablation import MixError, ablation_cells
from dks_study.analysis.tables.comparisons import comparisons, errors_by_seed
from dks_study.analysis.tables.costs import arm_costs
from dks_study.spec.backbone import shallow_to_deep
from dks_study.study.results import Results

TAPS = "branches.taps"


def draw_forest(results: Results) -> Figure:
    """Draw `comparisons`, which has a line or more: every seed's difference, the mean and its 95 % interval."""
    frame, errors = comparisons(results), errors_by_seed(results)
    bases = set(frame["base"])
    with styled():
        figure, (axes,) = blank(SINGLE_COLUMN_IN * 1.35, 0.8 + 0.34 * max(1, len(frame)))
        axes.axvline(0, color="#666666", linewidth=0.8)
        for at, row in enumerate(frame.to_dict("records")):
            look = row_looks(results)[row["arm"]]
            each = (errors[row["arm"]] - errors[row["base"]]).dropna()
            axes.plot(each, np.full(len(each), at + 0.24), "|", color=look.colour, alpha=0.6, markersize=5)
            axes.plot([row["low"], row["high"]], [at, at], color=look.colour, linewidth=1.6)
            axes.plot([row["mean"]], [at], look.marker, color=look.colour, markersize=5)
        several = [f"{row['arm']} - {row['base']}" for row in frame.to_dict("records")]
        axes.set_yticks(range(len(frame)), several if len(bases) > 1 else list(frame["arm"]))
        what = "difference in test error" if len(bases) > 1 else f"test error minus that of {bases.pop()}"
        axes.set(ylim=(len(frame) - 0.5, -0.5), xlabel=f"{what} (points)\nleft is better")
        axes.grid(axis="y", visible=False)
    return figure


def placements(trials: pd.DataFrame) -> pd.DataFrame:
    """Return one row per placement of branches, best first: taps (tuple), mean, std, n of the test error (%).

    Args:
        trials: as `collect` returns them, of one data set and backbone, differing in branches.taps alone.

    Raises:
        MixError: if they differ in more, or their seeds are unequal.
    """
    branched = trials[trials[TAPS] != "none"]
    for key in map(str, trials.columns):
        if key.startswith(("branches.", "loss.")) and key != TAPS and branched[key].nunique(dropna=False) > 1:
            raise MixError(f"{key}: differs between placements")
    cells = ablation_cells(trials, TAPS).sort_values("mean", kind="stable")
    taps = [tuple(() if row == "none" else row.split(", ")) for row in cells["row"]]
    return (
        cells[["mean", "std", "n"]].assign(taps=pd.Series(taps, index=cells.index, dtype=object)).reset_index(drop=True)
    )


def draw_placements(frame: pd.DataFrame) -> Figure:
    """Draw placements (rows, best on top) x taps (columns): filled where a branch sits, coloured by test error."""
    fullest_first = sorted(frame["taps"], key=len, reverse=True)  # modules are in order inside a placement alone
    taps = shallow_to_deep(dict.fromkeys(tap for placement in fullest_first for tap in placement))
    shown = np.full((len(frame), len(taps)), math.nan)
    for at, (placement, mean) in enumerate(zip(frame["taps"], frame["mean"], strict=True)):
        shown[at, [taps.index(tap) for tap in placement]] = mean
    with styled():
        figure, (axes,) = blank(SINGLE_COLUMN_IN * 1.2, 0.9 + 0.24 * len(frame))
        axes.set_facecolor("#F4F4F4")
        limits = {"vmin": frame["mean"].min(), "vmax": frame["mean"].max()}
        image = axes.pcolormesh(shown, cmap="viridis_r", edgecolors="white", linewidth=1.5, **limits)
        labels = [f"{row.mean:.2f} ± {row.std:.2f}" for row in frame.itertuples()]
        axes.set_yticks(np.arange(len(frame)) + 0.5, labels)
        axes.set_xticks(np.arange(len(taps)) + 0.5, taps)
        axes.set(ylim=(len(frame), 0), ylabel="test error (%)", xlabel="branches at")
        axes.grid(visible=False)
        figure.colorbar(image, ax=axes, label="test error (%)", shrink=0.8)
    return figure


def trade_off(results: Results, cost: str = "macs_train") -> pd.DataFrame:
    """Return arm, base (what it is compared with), cost, mean, std of the test error (%), and front, of rows as tuned.

    On the front is what no other arm of the same base beats in one and equals in both. `cost` is a column of
    `arm_costs`: macs_train, params_train, epoch_s, gpu_hours.
    """
    errors, costs = errors_by_seed(results), arm_costs(results)
    if not len(errors) or not len(costs):
        return pd.DataFrame()
    bases = {row.name: row.base for row in table_rows(results) if row.choice == TUNED}
    errors = errors[[name for name in errors if name in bases]]
    frame = pd.DataFrame({"arm": errors.columns, "mean": errors.mean().to_numpy(), "std": errors.std().to_numpy()})
    frame = frame.merge(costs[["arm", cost]].rename(columns={cost: "cost"}), on="arm").dropna(subset=["cost"])
    frame.insert(1, "base", frame["arm"].map(bases))
    return frame.assign(
        front=[not _dominated(row, frame[frame["base"] == row["base"]]) for row in frame.to_dict("records")]
    )


def draw_trade_off(results: Results, cost: str = "macs_train", label: str = "MACs per image, training") -> Figure:
    """Draw test error against a cost of training, with the Pareto front."""
    frame = trade_off(results, cost)
    with styled():
        figure, (axes,) = blank(SINGLE_COLUMN_IN * 1.35, 2.5)
        for at, (_, front) in enumerate(frame[frame["front"]].sort_values("cost").groupby("base", sort=False)):
            named = "" if at else "Pareto front"
            axes.step(front["cost"], front["mean"], where="post", color=FAINT, linewidth=4, label=named)
        for row in frame.to_dict("records"):
            look = row_looks(results)[row["arm"]]
            spread = None if math.isnan(row["std"]) else row["std"]
            axes.errorbar(row["cost"], row["mean"], spread, fmt=look.marker, color=look.colour, label=row["arm"], ms=5)
        axes.set(xlabel=label, ylabel="test error (%), ± 1 std", xlim=(0, 1.1 * frame["cost"].max()), ylim=(0, None))
        axes.xaxis.set_major_formatter(EngFormatter())
        legend_beside(figure, axes)
    return figure


def _dominated(row: Mapping[Hashable, Any], frame: pd.DataFrame) -> bool:
    as_good = (frame["cost"] <= row["cost"]) & (frame["mean"] <= row["mean"])
    better = (frame["cost"] < row["cost"]) | (frame["mean"] < row["mean"])
    return bool((as_good & better).any())
