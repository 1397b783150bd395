"""The gain of a method as a waterfall: from the error of the baseline, step by step, to that of the method."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dks_study.analysis.plots.style import DOUBLE_COLUMN_IN, blank, styled
from dks_study.analysis.tables.gain import BESIDE, IN_ALL, KNOWLEDGE, REGULARISATION, SUPERVISION
from dks_study.spec.looks import COLOURS

_BESIDE = COLOURS[5]
_COLOURS: Mapping[str, str] = {
    **{SUPERVISION: COLOURS[1], REGULARISATION: COLOURS[4], KNOWLEDGE: COLOURS[2]},
    **dict.fromkeys(BESIDE, _BESIDE),
}
_LEVEL = "#BBBBBB"  # of a bar that stands for an error, not for a difference
_ROOM = 1.25  # beside the longest bar, for its number


@dataclass(frozen=True)
class Bar:
    """A row of the figure: from `start` to `end`, in percent of test error; `whisker`: the interval of the end."""

    label: str
    start: float
    end: float
    text: str
    colour: str = _LEVEL
    whisker: tuple[float, float] | None = None


def bars(frame: pd.DataFrame) -> list[Bar]:
    """Return the rows for `gains` of one method and choice, top to bottom: its last ones are no parts of the gain."""
    whole = frame[frame["step"] == IN_ALL].iloc[0]
    parts = [_step(row) for _, row in frame.iterrows() if row["step"] in (SUPERVISION, REGULARISATION, KNOWLEDGE)]
    beside = [_step(row) for _, row in frame.iterrows() if row["step"] in BESIDE]
    level = float(whole["level"])
    first = _level(str(whole["baseline"]), level - float(whole["mean"]))
    return [first, *parts, _level(str(whole["method"]), level), *beside]


def draw_waterfall(frame: pd.DataFrame) -> Figure:
    """Draw `gains` of one method: a panel as tuned and, where there is one, another as written, each of its own scale.

    What would reach out of a panel is cut off; its number is there.
    """
    panels = {choice: bars(frame[frame["choice"] == choice]) for choice in dict.fromkeys(frame["choice"])}
    with styled():
        figure, axes = blank(DOUBLE_COLUMN_IN, 0.8 + 0.21 * max(map(len, panels.values())), 1, len(panels))
        for panel, (choice, rows) in zip(axes, panels.items(), strict=True):
            _draw(panel, rows)
            panel.set(xlabel="test error (%)", title=f"as {choice}" if len(panels) > 1 else "")
    return figure


def _step(row: "pd.Series[Any]") -> Bar:
    start, mean = float(row["level"] - row["mean"]), float(row["mean"])
    whisker = start + float(row["low"]), start + float(row["high"])
    beyond = " beyond" if row["step"] == KNOWLEDGE else ":"
    label, colour = f"{row['step']}{beyond} {row['arm']}", _COLOURS[row["step"]]
    return Bar(label, start, start + mean, f"{mean:+.1f}", colour, whisker if all(map(isfinite, whisker)) else None)


def _level(arm: str, error: float) -> Bar:
    return Bar(arm, 0.0, error, f"{error:.1f}")


def _draw(axes: Axes, rows: list[Bar]) -> None:
    parts = [bar for bar in rows if bar.colour != _BESIDE]
    limit = _ROOM * max(max(bar.start, bar.end, *(bar.whisker or ())) for bar in parts)
    for at, bar in enumerate(rows):
        axes.barh(at, bar.end - bar.start, left=bar.start, color=bar.colour, height=0.62)
        if bar.whisker:
            axes.plot(bar.whisker, [at, at], color="#333333", linewidth=0.9)
        reach = max(bar.start, bar.end, *(bar.whisker or ()))
        cut = reach > limit * 0.98
        text = axes.text(
            min(reach, limit), at, f" {bar.text} ", fontsize=6.5, va="center", ha="right" if cut else "left"
        )
        if cut:
            text.set_bbox({"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5})
    beside = next((at for at, bar in enumerate(rows) if bar.colour == _BESIDE), len(rows))
    axes.axhline(beside - 0.5, color="#666666", linewidth=0.6, linestyle=":")  # below: no parts of the gain
    axes.set_yticks(range(len(rows)), [bar.label for bar in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, limit))
    axes.grid(axis="y", visible=False)
