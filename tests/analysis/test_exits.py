"""Early exits in the report: which numbers stand in table and picture, and that nothing changes where none are."""

import pytest
from made_up import made_up, write

from dks_study.analysis.plots.exits import draw_exits
from dks_study.analysis.report.page import write_report
from dks_study.analysis.tables.exits import exit_grid, exit_table
from dks_study.study.results import Results


def with_exits(**changes):
    """Return made-up results that were asked for exits: main costs 1000 alone, stage1 200 and stage2 1100."""
    made = made_up(noise=0.0, exits=True, **changes)
    trials = made.trials.copy()
    confirmed, branched = trials["phase"] == "confirm", trials["arm"] != "baseline"
    trials.loc[confirmed, "exit/macs/main"] = 1000.0
    trials.loc[confirmed, "exit/macs_through/main"] = 1000.0 + 400 * branched
    for name, macs, through in (("stage2", 1100.0, 1200.0), ("stage1", 200.0, 200.0)):
        trials.loc[confirmed & branched, f"exit/macs/{name}"] = macs
        trials.loc[confirmed & branched, f"exit/macs_through/{name}"] = through
    for way in range(0, 101, 10):
        trials.loc[confirmed & branched, f"budget/{way}/macs"] = 200.0 + 12 * way
        trials.loc[confirmed & branched, f"budget/{way}/top1"] = 75.0 + way / 10
    return Results(made.study, trials, made.epochs)


def test_every_exit_and_every_budget_of_every_arm_is_there():
    table = exit_table(with_exits()).set_index(["arm", "name"])
    assert len(table) == 1 + 2 * (3 + 11)
    dense = table.loc["dense"]
    # main errs 12 % in the first seed and a point more in each of the six, branches 5 points more the shallower.
    assert dense.loc["main", "mean"] == pytest.approx(12 + 2.5)
    assert dense.loc["stage1", "mean"] == pytest.approx(12 + 2.5 + 10)
    assert dense.loc["stage1", ["macs", "n"]].tolist() == [200, 6]
    assert dense.loc["50", ["macs", "mean", "std"]].tolist() == [800, 20, 0]


def test_the_table_is_short_and_relative_to_the_whole_network():
    grid = exit_grid(with_exits())
    shown = [[cell.shown for cell in row] for row in grid.rows]
    assert len(shown) == 1 + 2 * (3 + 4)
    assert shown[0] == ["baseline", "main", "1 k", "1.00", "22.50 ± 1.87"]
    assert shown[8][:4] == ["dense", "stage1", "200", "0.20"]
    assert [row[1] for row in shown[8:11]] == ["stage1", "stage2", "main"], "shallow to deep, whatever they cost"
    assert shown[8][4] == "24.50 ± 1.87"
    assert ["dense", "by confidence, 40 %", "680", "0.68", "21.00 ± 0.00"] in shown
    assert grid.breaks == (1, 8)


def test_the_picture_has_every_arm_and_a_line_where_there_are_budgets():
    (axes,) = draw_exits(with_exits()).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["baseline", "ds", "dense"]
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) == 11]
    assert len(lines) == 2
    assert list(lines[0].get_xdata()) == [200.0 + 12 * way for way in range(0, 101, 10)]


def test_a_report_has_them_where_they_were_asked_for_and_nowhere_else(page, tmp_path):
    text = write_report(with_exits(), write(tmp_path / "asked", with_exits())).read_text(encoding="utf-8")
    assert "<b>Error of exits.</b>" in text
    assert "by confidence, 20 %" in text
    assert (tmp_path / "asked" / "latex" / "exits.tex").exists()
    assert "exits" not in (page / "report.html").read_text(encoding="utf-8")
    assert not (page / "latex" / "exits.tex").exists()
    assert len(exit_table(made_up())) == 0
