"""Where a method helps, as a picture: its effect with interval, a panel for each thing that it stands against."""

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dks_study.analysis.plots.style import DOUBLE_COLUMN_IN, blank, legend_below, named, styled
from dks_study.analysis.statistics.estimands import PROCEDURE, SETTINGS
from dks_study.analysis.tables.where import DRAWN
from dks_study.spec.looks import looks

COLUMNS = 2
COLOUR = looks(["dks"])["dks"].colour
_MARKS = {PROCEDURE: "o", SETTINGS: "s", DRAWN: "D"}
_MEANING = {
    PROCEDURE: "as tuned: 95 % interval of the procedure",
    SETTINGS: "as written: of the settings",
    DRAWN: "best of drawn settings, on validation",
}


def draw_where(panels: Mapping[str, pd.DataFrame], arm: str, base: str) -> Figure:
    """Draw `effects`, a panel for each of `panels` (what they stand against), all of one scale; bars are intervals."""
    lines = pd.concat(panels.values())
    limits = min(lines["low"].min(), 0) - 0.5, max(lines["high"].max(), 0) + 0.5
    rows = math.ceil(len(panels) / COLUMNS)
    with styled():
        figure, every = blank(DOUBLE_COLUMN_IN, 0.5 + 1.9 * rows, rows, COLUMNS)
        for axes in every[len(panels) :]:
            axes.set_visible(False)
        for axes, (against, frame) in zip(every, panels.items(), strict=False):
            _draw(axes, frame)
            axes.set(xlabel=against, ylim=limits)
        for axes in every[::COLUMNS]:
            axes.set_ylabel(f"error, {arm} - {base}\n(points); lower is better")
        legend_below(figure, named(every))
    return figure


def _draw(axes: Axes, frame: pd.DataFrame) -> None:
    axes.axhline(0, color="#666666", linewidth=0.8)
    for of, mine in frame.reset_index(drop=True).groupby("of", sort=False):
        spread = [mine["mean"] - mine["low"], mine["high"] - mine["mean"]]
        inside, label = COLOUR if of == PROCEDURE else "white", _MEANING[str(of)]
        axes.errorbar(
            mine.index, mine["mean"], spread, fmt=_MARKS[str(of)], color=COLOUR, mfc=inside, ms=5, label=label
        )
    axes.set_xticks(range(len(frame)), [str(label).replace(" ", "\n", 1) for label in frame["label"]])
    axes.set_xlim(-0.5, len(frame) - 0.5)
    axes.grid(axis="x", visible=False)
