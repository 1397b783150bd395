"""Further test sets (data.tests): the error of every row of the table on each, compared as on the first one."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from dks_study.analysis.rows import table_rows
from dks_study.analysis.tables.comparisons import LAST, comparisons, errors_by_seed, interval_text
from dks_study.analysis.tables.grid import Cell, Grid, number, p_value
from dks_study.study.results import Results

NOTE = (
    "Points of error of main after the last epoch, mean ± standard deviation over n seeds; difference paired by seed,"
    " intervals and p as in the paired comparisons, Holm over the arms on one test set. On top the first test set."
)


def further_table(results: Results) -> pd.DataFrame:
    """Return the errors on every test set; empty where there is but one.

    Columns, in percent: test (its name; test for the first), arm (the row), n, mean, std, base, difference,
    difference_std, low, high, p_holm (all empty in the row that others are compared with), estimand.
    """
    metrics = {"test": LAST, **{name: f"test_{name}/top1/main" for name in results.study.trial.data.tests}}
    lines = []
    for test, metric in metrics.items() if len(metrics) > 1 else ():
        errors, compared = errors_by_seed(results, metric), comparisons(results, metric)
        differences = {line["arm"]: line for line in compared.to_dict("records")}
        for row in table_rows(results):
            if row.name in errors:
                own, line = errors[row.name].dropna(), differences.get(row.name, {})
                known = {key: line.get(key) for key in ("base", "low", "high", "p_holm", "estimand")}
                known |= {"difference": line.get("mean"), "difference_std": line.get("std")}
                spread = {"n": len(own), "mean": own.mean(), "std": own.std()}
                lines.append({"test": test, "arm": row.name, **spread, **known})
    return pd.DataFrame(lines)


def further_grid(results: Results) -> Grid:
    """Return `further_table` as a table, a rule above each test set."""
    frame = further_table(results)
    header = ("test set", "arm", "n", "test error (%)", "against", "difference", "95 % interval", "of the", "p (Holm)")
    if not len(frame):
        return Grid("Every test set", header, ())
    tests = frame["test"].tolist()
    breaks = tuple(at for at in range(1, len(tests)) if tests[at] != tests[at - 1])
    return Grid("Every test set", header, tuple(map(_row, frame.to_dict("records"))), (NOTE,), breaks)


def _row(line: Mapping[Hashable, Any]) -> tuple[Cell, ...]:
    known = Cell(line["test"]), Cell(line["arm"]), Cell(str(line["n"])), number(line["mean"], line["std"])
    if not isinstance(line["base"], str):
        return *known, *[Cell()] * 5
    return (
        *known,
        Cell(line["base"]),
        number(line["difference"], line["difference_std"], signed=True),
        Cell(interval_text(line["low"], line["high"])),
        Cell(line["estimand"]),
        p_value(line["p_holm"]),
    )
