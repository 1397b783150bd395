"""Which change did it: each value that a search changed put back in turn, paired by seed with the setting it chose."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from dks_study.analysis.rows import TUNED, WRITTEN, choice_of, repeat_of
from dks_study.analysis.statistics.paired import holm
from dks_study.analysis.tables.comparisons import LAST, can_compare, effect_of, interval_text
from dks_study.analysis.tables.grid import Cell, Grid, number, p_value
from dks_study.study.results import Results

SETTING = "setting/"
TITLE = "Which change did it"
NOTE = (
    "Points of test error of main after the last epoch, paired by seed: what the search chose minus the same with one"
    " value as written; negative: this change helps. Values that help only together, or each of which is enough, show"
    " in no line or in all. Changed: on so many seeds their search had chosen another value; elsewhere the difference"
    " is 0. Interval and p as in the comparisons; Holm: over the values of one arm."
)


def put_back(results: Results) -> pd.DataFrame:
    """Return what each change that a search made is worth, a line for each arm and axis; empty where none was put back.

    Columns, in points of error: arm, key, n, changed (seeds), mean, std, estimand, low, high, p, p_holm.
    """
    lines = list[dict[str, Any]]()
    for arm in results.study.table.one_at_a_time:
        mine = list(_lines(results, arm))
        adjusted = holm([line["p"] for line in mine])
        lines += [{**line, "p_holm": p} for line, p in zip(mine, adjusted, strict=True)]
    return pd.DataFrame(lines)


def _lines(results: Results, arm: str) -> Iterator[dict[str, Any]]:
    trials = results.trials
    mine = trials[(trials["arm"] == arm) & (trials["status"] == "complete")] if len(trials) else trials
    if not len(mine):
        return
    confirmed = mine[mine["phase"] == "confirm"]
    tuned, written = (confirmed[choice_of(confirmed) == choice].set_index("seed") for choice in (TUNED, WRITTEN))
    axes = [key for key in results.study.axes_of(arm) if f"{SETTING}{key}" in mine]
    for key in axes:
        pairs = _pairs(mine, tuned, written, axes, key)
        if not can_compare(results.study, pairs):
            continue
        differences = pairs["chosen"] - pairs["back"]
        found = effect_of(results.study, differences, repeat_of(tuned)[pairs.index].tolist(), [arm])
        yield {
            **{"arm": arm, "key": key, "n": len(pairs), "changed": int(pairs["changed"].sum())},
            **{"mean": float(differences.mean()), "std": float(np.std(differences, ddof=1))},
            "estimand": found.estimand,
            **{name: getattr(found.claim, name) for name in ("low", "high", "p")},
        }


def _pairs(trials: pd.DataFrame, tuned: pd.DataFrame, written: pd.DataFrame, axes: list[str], key: str) -> pd.DataFrame:
    """Return by seed the errors as chosen and with `key` put back, and whether that was another value."""
    back = trials[trials["row"].str.endswith(f"({key} put back)")].set_index("seed")[LAST]
    rows = dict[int, dict[str, float]]()
    for seed in tuned.index.intersection(written.index):
        changes = [axis for axis in axes if _differs(tuned, written, seed, axis)]
        if key not in changes:
            error = tuned[LAST][seed]
        elif changes == [key]:  # what is left is the arm as written
            error = written[LAST][seed]
        elif seed in back.index:
            error = back[seed]
        else:
            continue
        rows[int(seed)] = {"chosen": 100 - tuned[LAST][seed], "back": 100 - error, "changed": key in changes}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["chosen", "back", "changed"])


def _differs(tuned: pd.DataFrame, written: pd.DataFrame, seed: int, axis: str) -> bool:
    one, other = (frame[f"{SETTING}{axis}"][seed] for frame in (tuned, written))
    return bool(one != other and not (pd.isna(one) and pd.isna(other)))


def put_back_grid(results: Results) -> Grid:
    """Return `put_back` as a table; no row where nothing was put back."""
    frame = put_back(results)
    header = ("arm", "change of", "changed", "n", "difference", "of the", "95 % interval", "p", "p (Holm)")
    rows = tuple(
        (
            *(Cell(str(row[name])) for name in ("arm", "key", "changed", "n")),
            number(row["mean"], row["std"], signed=True),
            Cell(row["estimand"]),
            Cell(interval_text(row["low"], row["high"])),
            *(p_value(row[name]) for name in ("p", "p_holm")),
        )
        for _, row in frame.iterrows()
    )
    return Grid(TITLE, header, rows, (NOTE,))
