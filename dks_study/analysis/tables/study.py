"""The ablation table of a study: one row per arm, in percent test error, each paired with the reference arm by seed."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dks_study.analysis.collect import full_confirmations, left_out, table_rows
from dks_study.analysis.statistics.paired import smallest_p
from dks_study.analysis.tables.comparisons import comparisons, errors_by_seed
from dks_study.analysis.tables.costs import COUNTS
from dks_study.analysis.tables.grid import Cell, Grid, markdown, number
from dks_study.analysis.tables.pareto import pareto_grid, pareto_table
from dks_study.analysis.tables.tries import tried_again
from dks_study.spec.study import auto_recipes_by_arm
from dks_study.study.ledger import write_whole
from dks_study.study.results import Results

ERROR = "test_error_percent"


@dataclass(frozen=True)
class ArmTable:
    """Numbers first: a frame with one row per arm, and notes on what is not in it.

    `reference` says in words what arms are compared with; rows have a column `against` where that is not one arm.
    """

    title: str
    reference: str
    rows: pd.DataFrame
    notes: tuple[str, ...]


def arm_table(results: Results) -> ArmTable:
    """Compute the table of a study from its complete confirmation trials alone."""
    study, rows = results.study, table_rows(results)
    errors, compared = errors_by_seed(results), comparisons(results)
    differences = {str(line["arm"]): line for line in compared.to_dict("records")}
    complete = full_confirmations(results)
    lines = [
        _row(row.name, errors[row.name].dropna(), differences.get(row.name), complete[complete["row"] == row.name])
        | ({"against": row.base} if study.table.against else {})
        for row in rows
        if row.name in errors
    ]
    bases = {row.base for row in rows if row.arm == study.table.reference}
    reference = "the arm in brackets" if study.table.against else bases.pop()
    return ArmTable(study.table.title, reference, pd.DataFrame(lines), _notes(results, reference, errors, compared))


def _row(
    name: str, errors: pd.Series, difference: Mapping[Hashable, Any] | None, trials: pd.DataFrame
) -> dict[str, object]:
    row: dict[str, object] = {"arm": name, "n": len(errors), ERROR: errors.mean(), "std": errors.std(ddof=1)}
    if difference:
        row |= {f"difference_{key}": difference[key] for key in ("n", "mean", "std", "low", "high", "p")}
        row["p_holm"] = difference["p_holm"]
    row |= {key: int(trials[f"cost/{key}"].max()) for key in COUNTS}
    return row | {key: trials[key].iloc[0] for key in trials.columns.astype(str) if key.startswith("setting/")}


def _notes(results: Results, reference: str, errors: pd.DataFrame, compared: pd.DataFrame) -> tuple[str, ...]:
    study = results.study
    seeds = len(study.report_seeds)
    notes = [
        f"{_count(seeds, 'report seed')}, {study.trial.epochs} epochs, {study.trial.data.name}; test error of `main`"
        f" after the last epoch; difference to {reference} paired by seed, 95 % BCa bootstrap interval,"
        " sign-flip p adjusted by Holm."
    ]
    fewest = int(compared["n"].min()) if len(compared) else seeds
    least = smallest_p(fewest)
    if least >= 0.05:
        notes.append(f"Warning: {_count(fewest, 'seed')} cannot reach p < 0.05 (at best {least:.3g}): use 6 or more.")
    if len(compared) > 1:
        adjusted = min(1.0, len(compared) * least)
        notes.append(
            f"The smallest p that {_count(fewest, 'seed')} can reach is {least:.3g}, {adjusted:.3g} after Holm."
        )
    notes += [f"Recipe auto: {text}." for text in _unpublished(results)]
    if in_parts := _in_parts(full_confirmations(results)):
        notes.append(f"Retrained with each batch in parts, having run out of memory: {', '.join(in_parts)}.")
    notes += tried_again(results)
    lost = [f"Left out: {reason}" for reason in left_out(results)]
    lost += [
        f"Left out: arm {row.name}: no complete confirmation trial."
        for row in table_rows(results)
        if row.name not in errors
    ]
    whole = all(errors[name].notna().sum() == seeds for name in errors)
    return (*notes, *lost, *(["Left out: nothing."] if whole and not lost else []))


def _unpublished(results: Results) -> list[str]:
    """Return what the recipe `auto` came to in the arms, where that is not the published branches alone."""
    by_text = auto_recipes_by_arm(results.study)
    return [f"{text} ({', '.join(arms)})" for text, arms in by_text.items() if ";" in text or "paper" not in text]


def _in_parts(trials: pd.DataFrame) -> list[str]:
    """Return in words which trials that the table rests on were trained with their batches in more parts."""
    if "accumulate" not in trials:  # no trial at all, or results from before this was recorded
        return []
    retrained = trials[trials["accumulate"].notna()]
    return [f"{trial['trial']} (in {int(trial['accumulate'])})" for _, trial in retrained.iterrows()]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def to_markdown(table: ArmTable) -> str:
    """Return the table as Markdown: error, paired difference, costs; then the settings; then the notes."""
    parts = [f"### {table.title}", ""]
    if len(table.rows):
        marked = zip(table.rows.iterrows(), best_rows(table), strict=True)
        shown = pd.DataFrame([_shown(row, table.reference, best) for (_, row), best in marked])
        settings = table.rows[["arm", *(key for key in table.rows.columns.astype(str) if key.startswith("setting/"))]]
        parts += [shown.to_markdown(index=False, disable_numparse=True), ""]
        if settings.shape[1] > 1:
            named = settings.rename(columns=lambda key: key.removeprefix("setting/"))
            parts += ["Chosen on validation:", "", _settings(named), ""]
    return "\n".join([*parts, *table.notes]) + "\n"


def best_rows(table: ArmTable) -> "pd.Series[bool]":
    """Mark the rows of the lowest error among those that are compared with the same row, that row among them."""
    groups = table.rows["against"] if "against" in table.rows else pd.Series("", index=table.rows.index)
    return table.rows[ERROR] == table.rows.groupby(groups)[ERROR].transform("min")


def _shown(row: pd.Series, reference: str, best: bool) -> dict[str, str]:
    spread = "" if pd.isna(row["std"]) else f" ± {row['std']:.2f}"  # one seed has none
    error = f"{row[ERROR]:.2f}{spread}"
    compared = pd.notna(row.get("difference_mean"))
    against = f" ({row['against']})" if "against" in row else ""
    return {
        "arm": str(row["arm"]),
        "n": str(row["n"]),
        "test error (%)": f"**{error}**" if best else error,
        f"difference to {reference}": f"{row['difference_mean']:+.2f} ± {row['difference_std']:.2f}{against}"
        if compared
        else "",
        "95 % interval": f"[{row['difference_low']:+.2f}, {row['difference_high']:+.2f}]" if compared else "",
        "p": f"{row['difference_p']:.3f}" if compared else "",
        "p (Holm)": f"{row['p_holm']:.3f}" if compared else "",
        "parameters (train / inference)": f"{row['params_train']:,} / {row['params_inference']:,}",
        "MACs per image (train / inference)": f"{row['macs_train']:,} / {row['macs_inference']:,}",
    }


def table_grid(table: ArmTable) -> Grid:
    """Return errors and comparisons of the table, for LaTeX, HTML and CSV; the costs have a grid of their own."""
    rows = []
    for row, best in zip(table.rows.to_dict("records"), best_rows(table) if len(table.rows) else (), strict=True):
        mean, std, low, high, p = (
            row.get(name, float("nan"))
            for name in ("difference_mean", "difference_std", "difference_low", "difference_high", "p_holm")
        )
        interval = Cell("" if pd.isna(low) else f"[{low:+.2f}, {high:+.2f}]")
        error = number(row[ERROR], row["std"], bold=bool(best))
        against = Cell(str(row["against"]) if "against" in row and not pd.isna(mean) else "")
        difference, adjusted = number(mean, std, signed=True), Cell() if pd.isna(p) else number(p, digits=3)
        named = [against] if "against" in row else []
        rows.append((Cell(str(row["arm"])), Cell(str(row["n"])), error, difference, *named, interval, adjusted))
    several = "against" in table.rows
    to = ("difference", "to") if several else (f"difference to {table.reference}",)
    header = ("arm", "n", "test error (%)", *to, "95 % interval", "p (Holm)")
    notes = tuple(note.replace("`", "").replace("the arm in brackets", "the arm beside it") for note in table.notes)
    return Grid(table.title, header, tuple(rows), notes)


def setting_grid(table: ArmTable) -> Grid:
    """Return the setting that each arm was confirmed with; only the column of arms if nothing was searched."""
    keys = [str(key) for key in table.rows.columns if str(key).startswith("setting/")]
    rows = tuple(
        (Cell(str(row["arm"])), *(Cell("" if pd.isna(row[key]) else _short(row[key])) for key in keys))
        for row in table.rows.to_dict("records")
    )
    return Grid("Chosen on validation", ("arm", *(key.removeprefix("setting/") for key in keys)), rows)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _settings(settings: pd.DataFrame) -> str:
    shown = settings.map(lambda value: "" if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else value)
    return str(shown.to_markdown(index=False, disable_numparse=True))


def write_tables(results: Results, folder: Path) -> str:
    """Write table.md and table.csv (and pareto.csv, of several objectives) into `folder`; return the Markdown."""
    table = arm_table(results)
    text = to_markdown(table)
    if len(results.study.search.objectives) > 1:
        front = pareto_table(results)
        text += "\n" + markdown(pareto_grid(front, results.study.search.objectives))
        write_whole(folder / "pareto.csv", front.to_csv(index=False))
    write_whole(folder / "table.md", text)
    write_whole(folder / "table.csv", table.rows.to_csv(index=False))
    return text
