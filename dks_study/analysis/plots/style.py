"""How all figures look: sizes for print, colours that colour-blind readers can tell apart, and ways to save."""

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter

from dks_study.analysis.rows import WRITTEN, names, table_rows
from dks_study.spec.looks import Look, looks
from dks_study.study.results import Results

SINGLE_COLUMN_IN, DOUBLE_COLUMN_IN = 3.4, 7.0  # widths of a two-column page
PNG_DPI = 200
FAINT = "#DDDDDD"
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
SPARSE = FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")  # between powers of ten
_AROUND_NAME_EM = 2.0 + 0.8 + 2.0  # of a legend: the line, what is between it and the name, and between columns
_LINE_EM = 1.6
_RC: dict[Any, Any] = {
    **{"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7},
    **{"legend.fontsize": 7, "legend.frameon": False, "lines.linewidth": 1.3, "axes.linewidth": 0.6},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#EEEEEE"},
    **{"grid.linewidth": 0.6, "axes.axisbelow": True, "svg.hashsalt": "dks_study", "pdf.fonttype": 42},
    **{"figure.constrained_layout.use": True},
}


def row_looks(results: Results) -> dict[str, Look]:
    """Return the looks of a study's arms and of the rows of its table; an arm as written looks like the arm."""
    found = looks(names(results))
    return found | {row.name: found[row.arm] for row in table_rows(results) if row.choice == WRITTEN}


@contextmanager
def styled() -> Iterator[None]:
    """Draw with the house style inside; matplotlib's own settings stay as they are."""
    with mpl.rc_context(_RC):
        yield


def blank(
    width_in: float, height_in: float, rows: int = 1, columns: int = 1, *, shared: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, row by row, of one scale if `shared`; not pyplot's, so nothing global keeps it."""
    figure = Figure(figsize=(width_in, height_in))
    return figure, list(figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared).flat)


def named(panels: Iterable[Axes]) -> dict[str, Artist]:
    """Return what is drawn in panels under a name, each name once."""
    pairs = (axes.get_legend_handles_labels() for axes in panels)
    return {name: handle for handles, names_ in pairs for handle, name in zip(handles, names_, strict=True)}


def legend_below(figure: Figure, handles: Mapping[str, Artist], title: str | None = None) -> None:
    """Put a legend of these names below the panels, in as many columns as fit; further lines make the figure higher."""
    size_pt = _RC["legend.fontsize"]
    widest_pt = max(TextPath((0, 0), name, size=size_pt).get_extents().width for name in handles)
    width_in, height_in = figure.get_size_inches()
    columns = max(1, int(width_in * 72 / (widest_pt + _AROUND_NAME_EM * size_pt)))
    further = math.ceil(len(handles) / columns) - 1
    figure.set_size_inches(width_in, height_in + further * _LINE_EM * size_pt / 72)
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=columns, title=title, title_fontsize=size_pt
    )


def legend_beside(figure: Figure, axes: Axes) -> None:
    """Put the legend of a figure's one panel to its right; the figure is made as high as the legend."""
    lines = len(named([axes])) + 1
    width_in, height_in = figure.get_size_inches()
    figure.set_size_inches(width_in, max(height_in, lines * _LINE_EM * _RC["legend.fontsize"] / 72))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write STEM.png (200 dots per inch) and STEM.pdf (fonts embedded), the same bytes for the same figure."""
    png, pdf = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    with styled():
        figure.savefig(png, dpi=PNG_DPI, metadata={"Software": None})
        figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return png, pdf


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG with its letters as shapes: it looks the same everywhere."""
    out = io.BytesIO()
    with styled():
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()
