"""The ablation table of a study: one row per arm, in percent test error, each paired with the reference arm by seed."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.pareto import pareto_markdown, pareto_table
from analysis.stats import Difference, holm, paired_difference, smallest_p
from dks_study.ledger import write_whole
from dks_study.results import Results

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
    study = results.study
    confirmed = results.trials[results.trials["phase"] == "confirm"] if len(results.trials) else results.trials
    complete = confirmed[confirmed["status"] == "complete"] if len(confirmed) else confirmed
    arms = {row: arm for arm in study.arms for row in _rows_of(confirmed, arm)}
    # Of several confirmed settings of the arm that others are compared with, the most accurate one stands for it.
    bases = {row: _rows_of(confirmed, study.table.reference_of(arm))[0] for row, arm in arms.items()}
    errors = {row: _error_by_seed(complete, row) for row in arms}
    differences = {row: None if row == base else _difference(errors[row], errors[base]) for row, base in bases.items()}
    compared = [row for row, difference in differences.items() if difference]
    adjusted = dict(zip(compared, holm([d.p for d in differences.values() if d]), strict=True))
    rows = [
        _row(row, errors[row], differences[row], adjusted.get(row), complete[complete["row"] == row])
        | ({"against": bases[row]} if study.table.against else {})
        for row in arms
        if len(errors[row])
    ]
    frame = pd.DataFrame(rows)
    reference = "the arm in brackets" if study.table.against else _rows_of(confirmed, study.table.reference)[0]
    return ArmTable(study.table.title, reference, frame, _notes(results, reference, confirmed, errors, differences))


def _rows_of(confirmed: pd.DataFrame, arm: str) -> list[str]:
    """Return the rows of an arm: one, or one for each member of its Pareto front that was confirmed."""
    mine = confirmed[confirmed["arm"] == arm] if len(confirmed) else confirmed
    return list(dict.fromkeys(mine["row"])) if len(mine) else [arm]


def _error_by_seed(complete: pd.DataFrame, arm: str) -> pd.Series:
    if not len(complete):
        return pd.Series(dtype=float)
    mine = complete[complete["row"] == arm].set_index("seed").sort_index()
    return 100 - mine["test/top1/main"]


def _difference(treated: pd.Series, reference: pd.Series) -> Difference | None:
    shared = treated.index.intersection(reference.index)
    return paired_difference(treated[shared].tolist(), reference[shared].tolist()) if len(shared) > 1 else None


def _row(
    arm: str, errors: pd.Series, difference: Difference | None, p_holm: float | None, trials: pd.DataFrame
) -> dict[str, object]:
    row: dict[str, object] = {"arm": arm, "n": len(errors), ERROR: errors.mean(), "std": errors.std(ddof=1)}
    if difference:
        row |= {f"difference_{name}": value for name, value in vars(difference).items()} | {"p_holm": p_holm}
    costs = ("params_train", "params_inference", "macs_train", "macs_inference")
    row |= {name: int(trials[f"cost/{name}"].max()) for name in costs}
    return row | {key: trials[key].iloc[0] for key in trials.columns.astype(str) if key.startswith("setting/")}


def _notes(
    results: Results,
    reference: str,
    confirmed: pd.DataFrame,
    errors: dict[str, pd.Series],
    differences: dict[str, Difference | None],
) -> tuple[str, ...]:
    study = results.study
    seeds = len(study.report_seeds)
    notes = [
        f"{_count(seeds, 'report seed')}, {study.trial.epochs} epochs, {study.trial.data.name}; test error of `main`"
        f" after the last epoch; difference to {reference} paired by seed, 95 % BCa bootstrap interval,"
        " sign-flip p adjusted by Holm."
    ]
    fewest = min((difference.n for difference in differences.values() if difference), default=seeds)
    least = smallest_p(fewest)
    if least >= 0.05:
        notes.append(f"Warning: {_count(fewest, 'seed')} cannot reach p < 0.05 (at best {least:.3g}): use 6 or more.")
    comparisons = sum(difference is not None for difference in differences.values())
    if comparisons > 1:
        adjusted = min(1.0, comparisons * least)
        notes.append(
            f"The smallest p that {_count(fewest, 'seed')} can reach is {least:.3g}, {adjusted:.3g} after Holm."
        )
    left_out = confirmed[confirmed["status"] != "complete"] if len(confirmed) else confirmed
    for _, trial in left_out.iterrows():
        notes.append(f"Left out: {trial['trial']} {trial['status']}: {trial['error']}")
    in_parts = _in_parts(confirmed)
    if in_parts:
        notes.append(f"Retrained with each batch in parts, having run out of memory: {', '.join(in_parts)}.")
    for arm, values in errors.items():
        if not len(values):
            notes.append(f"Left out: arm {arm}: no complete confirmation trial.")
    if len(left_out) == 0 and all(len(values) == seeds for values in errors.values()):
        notes.append("Left out: nothing.")
    return tuple(notes)


def _in_parts(confirmed: pd.DataFrame) -> list[str]:
    """Return in words which trials that the table rests on were trained with their batches in more parts."""
    if not len(confirmed):
        return []
    retrained = confirmed[(confirmed["status"] == "complete") & confirmed["accumulate"].notna()]
    return [f"{trial['trial']} (in {int(trial['accumulate'])})" for _, trial in retrained.iterrows()]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def to_markdown(table: ArmTable) -> str:
    """Return the table as Markdown: error, paired difference, costs; then the settings; then the notes."""
    parts = [f"### {table.title}", ""]
    if len(table.rows):
        best = table.rows[ERROR].min()
        shown = pd.DataFrame([_shown(row, table.reference, best) for _, row in table.rows.iterrows()])
        settings = table.rows[["arm", *(key for key in table.rows.columns.astype(str) if key.startswith("setting/"))]]
        parts += [shown.to_markdown(index=False, disable_numparse=True), ""]
        if settings.shape[1] > 1:
            named = settings.rename(columns=lambda key: key.removeprefix("setting/"))
            parts += ["Chosen on validation:", "", _settings(named), ""]
    return "\n".join([*parts, *table.notes]) + "\n"


def _shown(row: pd.Series, reference: str, best: float) -> dict[str, str]:
    spread = "" if pd.isna(row["std"]) else f" ± {row['std']:.2f}"  # one seed has none
    error = f"{row[ERROR]:.2f}{spread}"
    compared = pd.notna(row.get("difference_mean"))
    against = f" ({row['against']})" if "against" in row else ""
    return {
        "arm": str(row["arm"]),
        "n": str(row["n"]),
        "test error (%)": f"**{error}**" if row[ERROR] == best else error,
        f"difference to {reference}": f"{row['difference_mean']:+.2f} ± {row['difference_std']:.2f}{against}"
        if compared
        else "",
        "95 % interval": f"[{row['difference_low']:+.2f}, {row['difference_high']:+.2f}]" if compared else "",
        "p": f"{row['difference_p']:.3f}" if compared else "",
        "p (Holm)": f"{row['p_holm']:.3f}" if compared else "",
        "parameters (train / inference)": f"{row['params_train']:,} / {row['params_inference']:,}",
        "MACs per image (train / inference)": f"{row['macs_train']:,} / {row['macs_inference']:,}",
    }


def _settings(settings: pd.DataFrame) -> str:
    shown = settings.map(lambda value: "" if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else value)
    return str(shown.to_markdown(index=False, disable_numparse=True))


def write_tables(results: Results, folder: Path) -> str:
    """Write table.md and table.csv (and pareto.csv, of several objectives) into `folder`; return the Markdown."""
    table = arm_table(results)
    text = to_markdown(table)
    if len(results.study.search.objectives) > 1:
        front = pareto_table(results)
        text += "\n" + pareto_markdown(front, results.study.search.objectives)
        write_whole(folder / "pareto.csv", front.to_csv(index=False))
    write_whole(folder / "table.md", text)
    write_whole(folder / "table.csv", table.rows.to_csv(index=False))
    return text
