"""A table as it is shown: cells of text and numbers, and the same table as Markdown, LaTeX, HTML or CSV."""

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from dks_study.study.ledger import write_whole

_LATEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    **{
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "|": r"\textbar{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
    },
    **{">": r"\textgreater{}", "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "…": r"\ldots{}"},
}


SMALLEST_P = "< 0.001"


@dataclass(frozen=True)
class Cell:
    """Text, or a number with its standard deviation where there is one; `digits` are those after the point.

    With both the text is what people read, and the number what a CSV file has.
    """

    text: str = ""
    mean: float | None = None
    std: float | None = None
    digits: int = 2
    bold: bool = False
    signed: bool = False

    @property
    def shown(self) -> str:
        """The text as a person reads it: 8.96 ± 1.79."""
        if self.text or self.mean is None:
            return self.text
        spread = "" if self.std is None else f" ± {self.std:.{self.digits}f}"
        return f"{self.mean:{'+' if self.signed else ''}.{self.digits}f}{spread}"


@dataclass(frozen=True)
class Grid:
    """A table: the first column names the rows; every note is a sentence that stands below it.

    `breaks` are the numbers of rows above which LaTeX and HTML draw a rule.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    breaks: tuple[int, ...] = ()


def number(mean: float, std: float = math.nan, *, digits: int = 2, bold: bool = False, signed: bool = False) -> Cell:
    """Return a cell for `mean`, empty where it is NaN, without a spread where `std` is NaN (one run)."""
    if math.isnan(mean):
        return Cell()
    return Cell(mean=float(mean), std=None if math.isnan(std) else float(std), digits=digits, bold=bold, signed=signed)


def p_value(p: float) -> Cell:
    """Return a cell for a p to three digits, empty where it is NaN; no p is 0."""
    return Cell(SMALLEST_P, p, digits=3) if p < 0.0005 else number(p, digits=3)


def markdown(grid: Grid) -> str:
    """Return the table as Markdown, the best cells in bold, with its title and notes."""
    return "\n".join([f"### {grid.title}", "", grid_lines(grid), "", *grid.notes]) + "\n"


def grid_lines(grid: Grid) -> str:
    """Return the lines of the Markdown table alone."""
    body = [[f"**{cell.shown}**" if cell.bold else cell.shown for cell in row] for row in grid.rows]
    safe = [[text.replace("|", r"\|") for text in row] for row in body]
    return str(pd.DataFrame(safe, columns=list(grid.header)).to_markdown(index=False, disable_numparse=True))


def html(grid: Grid) -> str:
    """Return a figure with the table in a box that scrolls by itself, its caption and its notes; everything escaped."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in grid.header)
    body = "".join(_html_row(row, at in grid.breaks) for at, row in enumerate(grid.rows))
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in grid.notes)
    return (
        f'<figure class="table"><figcaption>{escape(grid.title)}</figcaption>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(grid.title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>{notes}</figure>"
    )


def _html_row(row: tuple[Cell, ...], ruled: bool) -> str:
    cells = "".join(_html_cell(cell, at) for at, cell in enumerate(row))
    kind = ' class="ruled"' if ruled else ""
    return f"<tr{kind}>{cells}</tr>\n"


def _html_cell(cell: Cell, at: int) -> str:
    text = f"<strong>{escape(cell.shown)}</strong>" if cell.bold else escape(cell.shown)
    return f'<th scope="row">{text}</th>' if at == 0 else f"<td>{text}</td>"


def to_csv(grid: Grid) -> str:
    """Return the numbers unrounded: a column for the mean and one for the standard deviation where there is one."""
    spread = [any(row[at].std is not None for row in grid.rows) for at in range(len(grid.header))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    pairs = zip(grid.header, spread, strict=True)
    writer.writerow([name for text, wide in pairs for name in ((text, f"{text} std") if wide else (text,))])
    for row in grid.rows:
        writer.writerow([value for cell, wide in zip(row, spread, strict=True) for value in _csv_cell(cell, wide)])
    return out.getvalue()


def _csv_cell(cell: Cell, wide: bool) -> tuple[str | float, ...]:
    first: str | float = cell.text if cell.mean is None else cell.mean
    return (first, "" if cell.std is None else cell.std) if wide else (first,)


def latex(grid: Grid) -> str:
    r"""Return a LaTeX table, at most as wide as the line; needs \usepackage{booktabs,graphicx,siunitx} (siunitx 3)."""
    kinds = [_column(grid, at) for at in range(len(grid.header))]
    head = " & ".join("{" + tex(text) + "}" for text in grid.header)
    rules = dict.fromkeys(grid.breaks, r"\midrule ")
    body = [
        rules.get(at, "") + " & ".join(_latex_cell(cell) for cell in row) + r" \\" for at, row in enumerate(grid.rows)
    ]
    notes = [r"\par\smallskip\raggedright\footnotesize " + tex(" ".join(grid.notes))] if grid.notes else []
    lines = [
        *(r"\begin{table}", r"\centering", r"\sisetup{separate-uncertainty, detect-weight, mode=text}"),
        rf"\caption{{{tex(grid.title)}}}\smallskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{''.join(kinds)}}}",
        *(r"\toprule", head + r" \\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}}"),
        *(*notes, r"\end{table}"),
    ]
    return "\n".join(lines) + "\n"


def write_latex(grids: Mapping[str, Grid], folder: Path) -> None:
    """Write a file per table, and tables.tex, which shows them all: pdflatex tables.tex."""
    folder.mkdir(exist_ok=True)
    for name, grid in grids.items():
        write_whole(folder / f"{name}.tex", latex(grid))
    inputs = "".join(f"\\input{{{name}}}\n" for name in grids) or "No table.\n"
    head = "\\documentclass{article}\n\\usepackage{booktabs,graphicx,siunitx}\n"
    write_whole(folder / "tables.tex", f"{head}\\begin{{document}}\n{inputs}\\end{{document}}\n")


def tex(text: str) -> str:
    """Return `text` with everything escaped that LaTeX would read as a command."""
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found.group()], text)


def _column(grid: Grid, at: int) -> str:
    cells = [row[at] for row in grid.rows if row[at].mean is not None]
    if not cells:
        return "l"
    whole = max(len(f"{abs(cell.mean or 0):.0f}") for cell in cells)
    digits = max(cell.digits for cell in cells)
    sign = "+" if any(cell.signed for cell in cells) else "-" if any((cell.mean or 0) < 0 for cell in cells) else ""
    stds = [cell.std for cell in cells if cell.std is not None]
    spread = f"({max(len(f'{std:.0f}') for std in stds) + digits})" if stds else ""
    return f"S[table-format={sign}{whole}.{digits}{spread}]"


def _latex_cell(cell: Cell) -> str:
    weight = r"\bfseries " if cell.bold else ""
    if cell.mean is None:
        return weight + tex(cell.text)
    if cell.text:
        return f"{{{weight}{tex(cell.text)}}}"  # in a column of numbers
    spread = "" if cell.std is None else f" +- {cell.std:.{cell.digits}f}"
    return f"{weight}{cell.mean:{'+' if cell.signed else ''}.{cell.digits}f}{spread}"
