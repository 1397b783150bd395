"""The ablation table of a study: one row per arm, in percent test error, each paired with the reference arm by seed."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dks_study.analysis.rows import TUNED, WRITTEN, TableRow, full_confirmations, table_rows
from dks_study.analysis.statistics.margins import CANNOT_TELL, MOST_SEEDS
from dks_study.analysis.tables.comparisons import (
    CHOSEN,
    LAST,
    comparisons,
    errors_by_seed,
    interval_text,
    not_told_apart,
    repeats_by_seed,
)
from dks_study.analysis.tables.costs import COUNTS
from dks_study.analysis.tables.grid import Cell, Grid, grid_lines, markdown, number, p_value
from dks_study.analysis.tables.notes import notes
from dks_study.analysis.tables.pareto import pareto_grid, pareto_table
from dks_study.analysis.tables.settings import chosen_settings, setting_grid
from dks_study.spec.study import StudySpec
from dks_study.study.ledger import write_whole
from dks_study.study.results import Results

ERROR, CHOSEN_ERROR = "test_error_percent", "test_chosen_error_percent"
ENDS = ((ERROR, "std", "bold", LAST), (CHOSEN_ERROR, "chosen_std", "chosen_bold", CHOSEN))
ESTIMANDS = ("procedure", "settings")


@dataclass(frozen=True)
class ArmTable:
    """Numbers first: a frame with one row per row of the table, and notes on how they came about and what is not in it.

    `reference` says in words what arms are compared with; rows have a column `against` where that is not one arm.
    `settings` holds what was chosen (see chosen_settings).
    """

    title: str
    reference: str
    rows: pd.DataFrame
    settings: pd.DataFrame
    notes: tuple[str, ...]


def arm_table(results: Results) -> ArmTable:
    """Compute the table of a study from its complete confirmation trials alone."""
    study, rows = results.study, table_rows(results)
    compared = comparisons(results)
    differences = {str(line["arm"]): line for line in compared.to_dict("records")}
    complete = full_confirmations(results)
    ends = {names: errors_by_seed(results, names[-1]) for names in ENDS}
    lines = [
        _row(row, {names: errors[row.name] for names, errors in ends.items() if row.name in errors})
        | _difference(differences.get(row.name))
        | ({"against": row.base} if study.table.against else {})
        | ({"epochs": _length(complete.loc[complete["row"] == row.name, "epochs"])} if study.matches else {})
        | {key: int(complete.loc[complete["row"] == row.name, f"cost/{key}"].max()) for key in COUNTS}
        for row in rows
        if row.name in ends[ENDS[0]]
    ]
    bases = {row.base for row in rows if row.arm == study.table.reference and row.choice == TUNED}
    reference = "the arm beside it" if study.table.against else bases.pop()
    frame = pd.DataFrame(lines)
    for (_, _, bold, _), errors in ends.items():
        if len(errors):
            frame[bold] = frame["arm"].isin(_bold(study, rows, errors, repeats_by_seed(results)))
    found = notes(results, reference, ends[ENDS[0]], compared)
    return ArmTable(study.table.title, reference, frame, chosen_settings(results), found)


def _row(row: TableRow, ends: Mapping[tuple[str, str, str, str], "pd.Series[float]"]) -> dict[str, object]:
    """Return name, n, and mean and standard deviation of the error at each end of training that is on record."""
    line: dict[str, object] = {"arm": row.name, "choice": row.choice}
    for (mean, std, _, metric), errors in ends.items():
        found = errors.dropna()
        line |= ({"n": len(found)} if metric == LAST else {}) | {mean: found.mean(), std: found.std(ddof=1)}
    return line


def _length(epochs: "pd.Series[int]") -> str:
    """Return how long the trials of a row trained: 26, or 14 to 26."""
    return " to ".join(dict.fromkeys((str(epochs.min()), str(epochs.max()))))


def _difference(compared: Mapping[Hashable, Any] | None) -> dict[str, object]:
    if compared is None:
        return {}
    ends = [f"{estimand}_{end}" for estimand in ESTIMANDS for end in ("low", "high")]
    line = {
        f"difference_{key}": compared[key]
        for key in ("n", "mean", "std", "seed_std", "choice_std", "low", "high", "p", *ends)
    }
    judged = ("verdict", "p_equivalence_holm", "seeds_to_decide")
    line |= {key: compared[key] for key in judged if key in compared}
    return line | {key: compared[key] for key in ("p_holm", "estimand", "method")}


def _bold(study: StudySpec, rows: Sequence[TableRow], errors: pd.DataFrame, repeats: "pd.Series[int]") -> set[Hashable]:
    """Return the rows that are not told apart from the best of those that are compared with the same row."""
    bold: set[Hashable] = set()
    for base, choice in dict.fromkeys((row.base, row.choice) for row in rows):
        mine = [row.name for row in rows if (row.base, row.choice) == (base, choice) and row.name in errors]
        if mine:
            searches = repeats * 0 if choice == WRITTEN else repeats
            bold |= set(not_told_apart(errors[mine], searches, study))
    return bold


def to_markdown(table: ArmTable) -> str:
    """Return the table as Markdown: errors, paired differences, costs; then what was chosen; then the notes."""
    grid = table_grid(table, costs=True)
    parts = [f"### {table.title}", ""]
    if grid.rows:
        parts += [grid_lines(grid), ""]
    if len(table.settings):
        parts += ["Chosen on validation:", "", grid_lines(setting_grid(table.settings)), ""]
    return "\n".join([*parts, *table.notes]) + "\n"


def table_grid(table: ArmTable, *, costs: bool = False) -> Grid:
    """Return errors and comparisons, a rule between rows as tuned and as written; with costs at the end if asked."""
    if not len(table.rows):
        return Grid(table.title, ("arm",), (), _plain(table.notes))
    columns = _columns(table) | (_costs(table.rows) if costs else {})
    rows = tuple(zip(*columns.values(), strict=True))
    choices = table.rows["choice"].tolist()
    breaks = tuple(at for at in range(1, len(choices)) if choices[at] != choices[at - 1])
    return Grid(table.title, tuple(columns), rows, _plain(table.notes), breaks)


def _columns(table: ArmTable) -> dict[str, list[Cell]]:
    rows = table.rows
    columns = {"arm": [Cell(name) for name in rows["arm"]], "n": [Cell(str(n)) for n in rows["n"]]}
    if "epochs" in rows:
        columns["epochs"] = [Cell(length) for length in rows["epochs"]]
    columns["test error (%)"] = _errors(rows, ENDS[0])
    if CHOSEN_ERROR in rows:
        columns["at the epoch chosen (%)"] = _errors(rows, ENDS[1])
    if "difference_mean" not in rows:
        return columns
    several = "against" in rows
    pairs = zip(rows["difference_mean"], rows["difference_std"], strict=True)
    columns["difference" if several else f"difference to {table.reference}"] = [
        number(mean, std, signed=True) for mean, std in pairs
    ]
    if several:
        known = rows["difference_mean"].notna()
        columns["to"] = [Cell(str(to) if shown else "") for to, shown in zip(rows["against"], known, strict=True)]
    for estimand in ESTIMANDS:
        low, high = (rows[f"difference_{estimand}_{end}"] for end in ("low", "high"))
        if low.notna().any():
            texts = [interval_text(*ends) for ends in zip(low, high, strict=True)]
            columns[f"95 % interval ({estimand})"] = [Cell(text) for text in texts]
    columns["p (Holm)"] = [p_value(p) for p in rows["p_holm"]]
    if "verdict" in rows:
        seeds = rows.get("seeds_to_decide", pd.Series(math.nan, index=rows.index))
        columns["verdict"] = [Cell(_verdict(*each)) for each in zip(rows["verdict"], seeds, strict=True)]
    return columns


def _verdict(text: object, seeds: float) -> str:
    """Return a verdict as tables show it, with the seeds that would decide where it cannot be told."""
    if text != CANNOT_TELL or math.isnan(seeds):
        return text if isinstance(text, str) else ""
    return f"{text} (n above {MOST_SEEDS:,})" if math.isinf(seeds) else f"{text} (n = {seeds:.0f})"


def _errors(rows: pd.DataFrame, end: tuple[str, str, str, str]) -> list[Cell]:
    mean, std, bold, _ = end
    found = zip(rows[mean], rows[std], rows[bold], strict=True)
    return [number(each, spread, bold=bool(best)) for each, spread, best in found]


def _costs(rows: pd.DataFrame) -> dict[str, list[Cell]]:
    kinds = {"parameters (train / inference)": "params", "MACs per image (train / inference)": "macs"}
    return {
        name: [
            Cell(f"{train:,} / {inference:,}")
            for train, inference in zip(rows[f"{kind}_train"], rows[f"{kind}_inference"], strict=True)
        ]
        for name, kind in kinds.items()
    }


def _plain(notes: Sequence[str]) -> tuple[str, ...]:
    """Return the notes for tables that are not Markdown, where the other arm has a column of its own."""
    return tuple(note.replace("`", "") for note in notes)


def write_tables(results: Results, folder: Path) -> str:
    """Write table.md, table.csv and, where there are any, settings.csv and pareto.csv; return table.md."""
    table = arm_table(results)
    text = to_markdown(table)
    if len(results.study.search.objectives) > 1:
        front = pareto_table(results)
        text += "\n" + markdown(pareto_grid(front, results.study.search.objectives))
        write_whole(folder / "pareto.csv", front.to_csv(index=False))
    write_whole(folder / "table.md", text)
    write_whole(folder / "table.csv", table.rows.to_csv(index=False))
    if len(table.settings):
        write_whole(folder / "settings.csv", table.settings.to_csv(index=False))
    return text
