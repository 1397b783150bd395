"""One table in four forms: the same numbers, nothing that breaks out of its cell."""

import io
import math
import shutil
import subprocess

import pandas as pd
import pytest

from dks_study.analysis.tables.grid import Cell, Grid, html, latex, markdown, number, p_value, tex, to_csv

NASTY = r"a_b & 50 % <script> {x} ~ ^ # $ | \ ±"
GRID = Grid(
    "A & B",
    ("arm", "error (%)", "difference", NASTY),
    (
        (Cell("base_line"), number(21.154, 3.126), Cell(), Cell("x")),
        (Cell(NASTY), number(8.9649, 0.5, bold=True), number(-12.2, 1.25, signed=True), number(0.0312, digits=3)),
    ),
    ("One note.", "Two: 5 %."),
)


@pytest.mark.parametrize(("p", "shown"), [(0.0, "< 0.001"), (0.0004, "< 0.001"), (0.0006, "0.001"), (math.nan, "")])
def test_no_p_is_nothing(p, shown):
    assert p_value(p).shown == shown
    grid = Grid("t", ("p",), ((p_value(p),), (p_value(0.2),)))
    assert to_csv(grid).splitlines()[1] == ('""' if math.isnan(p) else str(p)), "unrounded"
    assert (r"{\textless{} 0.001} \\" in latex(grid)) == (shown == "< 0.001")


def test_markdown_has_the_best_in_bold_and_escapes_its_own_bars():
    text = markdown(GRID)
    assert "**8.96 ± 0.50**" in text
    assert "-12.20 ± 1.25" in text
    assert r"\|" in text
    assert text.endswith("One note.\nTwo: 5 %.\n")


def test_html_escapes_everything_and_scrolls_by_itself():
    text = html(GRID)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<strong>8.96 ± 0.50</strong>" in text
    assert '<div class="scroll"' in text


def test_csv_keeps_the_numbers_unrounded():
    frame = pd.read_csv(io.StringIO(to_csv(GRID)))
    assert list(frame.columns) == ["arm", "error (%)", "error (%) std", "difference", "difference std", NASTY]
    assert frame["error (%)"].tolist() == [21.154, 8.9649]
    assert frame["error (%) std"].tolist() == [3.126, 0.5]


def test_latex_aligns_numbers_and_marks_the_best():
    text = latex(GRID)
    assert r"\bfseries 8.96 +- 0.50" in text
    assert "S[table-format=2.2(3)]S[table-format=+2.2(3)]S[table-format=1.3]" in text
    assert r"base\_line & 21.15 +- 3.13 &  & x \\" in text


def test_tex_escapes_every_special_character():
    assert tex("a_b & 5 %") == r"a\_b \& 5 \%"
    assert tex("\\") == r"\textbackslash{}"


def test_a_number_without_spread_or_without_value():
    assert number(1.0).shown == "1.00"
    assert number(float("nan")).shown == ""
    assert number(2.5, signed=True, digits=1).shown == "+2.5"


@pytest.mark.slow
def test_latex_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    head = "\\documentclass{article}\\usepackage{booktabs,graphicx,siunitx}\\begin{document}\n"
    tiny = Grid("tiny", ("p",), ((p_value(1e-9),), (p_value(0.2),)))
    (tmp_path / "t.tex").write_text(f"{head}{latex(GRID)}{latex(tiny)}\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
