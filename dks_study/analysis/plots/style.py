"""How all figures look: sizes for print, colours that colour-blind readers can tell apart, and ways to save."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from dks_study.analysis.rows import WRITTEN, names, table_rows
from dks_study.spec.looks import Look, looks
from dks_study.study.results import Results

SINGLE_COLUMN_IN, DOUBLE_COLUMN_IN = 3.4, 7.0  # widths of a two-column page
PNG_DPI = 200
FAINT = "#DDDDDD"
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
SPARSE = FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")  # between powers of ten
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
