"""What each arm costs, beside what it gains: parameters, multiply-accumulates, time, memory, GPU-hours."""

import math

import pandas as pd

from dks_study.analysis.rows import TUNED, TableRow, confirmed_epochs, full_confirmations, table_rows
from dks_study.analysis.tables.grid import Cell, Grid, number
from dks_study.study.results import Results

COUNTS = ("params_train", "params_inference", "macs_train", "macs_inference")
PEAK_MEMORY_MIB = "cost/peak_memory_mib"  # of one device; recorded on GPUs


def arm_costs(results: Results) -> pd.DataFrame:
    """Return one line per row of the study's table with a complete confirmation trial.

    Columns: arm (the row); params_train, params_inference (numbers); macs_train, macs_inference (multiply-accumulates
    of one image forward); epoch_s (median time of a training epoch, the first one of a trial left out), relative_time
    (to the reference's); peak_memory_mib and gpu_hours (of its own confirmation and, as tuned, of its arm's search and
    races), NaN where not recorded or no GPU ran.
    """
    trials, study = full_confirmations(results), results.study
    if not len(trials):
        return pd.DataFrame()
    seconds = _epoch_seconds(results)
    base = next(seconds.get(row.base, math.nan) for row in table_rows(results) if row.arm == study.table.reference)
    lines = []
    for row in table_rows(results):
        mine = trials[trials["row"] == row.name]
        if not len(mine):
            continue
        line: dict[str, object] = {"arm": row.name} | {name: int(mine[f"cost/{name}"].max()) for name in COUNTS}
        line |= {"epoch_s": seconds.get(row.name, math.nan), "relative_time": seconds.get(row.name, math.nan) / base}
        line["peak_memory_mib"] = mine[PEAK_MEMORY_MIB].max() if PEAK_MEMORY_MIB in mine else math.nan
        line["gpu_hours"] = _gpu_hours(results, row)
        lines.append(line)
    return pd.DataFrame(lines)


def cost_grid(results: Results) -> Grid:
    """Return the costs as a table; memory and GPU-hours only where they are known."""
    costs = arm_costs(results)
    reference = results.study.table.reference
    counts = {"params_train": "parameters, training", "params_inference": "parameters, inference"}
    counts |= {"macs_train": "MACs, training", "macs_inference": "MACs, inference"}
    numbers = {"epoch_s": ("s per epoch", 3), "relative_time": (f"time / {reference}", 2)}
    numbers |= {"peak_memory_mib": ("peak memory (MiB)", 0), "gpu_hours": ("GPU-hours", 2)}
    known = {key: value for key, value in numbers.items() if len(costs) and costs[key].notna().any()}
    header = ("arm", *counts.values(), *(name for name, _ in known.values()))
    rows = tuple(
        (
            Cell(str(row["arm"])),
            *(Cell(short(float(row[key]))) for key in counts),
            *(number(float(row[key]), digits=digits) for key, (_, digits) in known.items()),
        )
        for _, row in costs.iterrows()
    )
    note = "MACs: multiply-accumulates of convolutions and linear layers, one image, forward; s per epoch: median of"
    note += " training, without a trial's first epoch, with whatever else ran on the machine at that time."
    return Grid("Cost of each arm", header, rows, (note,))


def _epoch_seconds(results: Results) -> dict[str, float]:
    epochs = confirmed_epochs(results)
    if "time/train_s" not in epochs:
        return {}
    warm = epochs[(epochs["epoch"] > 1) | (results.study.trial.epochs == 1)]
    return {str(arm): float(value) for arm, value in warm.groupby("arm")["time/train_s"].median().items()}


def _gpu_hours(results: Results, row: TableRow) -> float:
    gpus, epochs, trials = results.study.trial.resources.gpus, results.epochs, results.trials
    if not gpus or "time/train_s" not in epochs:
        return math.nan
    of_arm = (trials["arm"] == row.arm) & (trials["phase"] != "confirm") & (row.choice == TUNED)
    mine = trials.loc[of_arm | (trials["row"] == row.name) & (trials["phase"] == "confirm"), "trial"]
    return float(epochs.loc[epochs["trial"].isin(mine), "time/train_s"].sum()) * gpus / 3600


def short(count: float) -> str:
    """Return a count to three digits: 19.1 k, 36.5 M, 5.24 G."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:  # what is 1,000 of the smaller unit to three digits
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"
