"""What each arm costs, beside what it gains: parameters, multiply-accumulates, time, memory, GPU-hours."""

import math

import pandas as pd

from analysis.collect import full_confirmations
from analysis.grid import Cell, Grid, number
from dks_study.results import Results

COUNTS = ("params_train", "params_inference", "macs_train", "macs_inference")
PEAK_MEMORY_MIB = "cost/peak_memory_mib"  # of one device; recorded on GPUs


def arm_costs(results: Results) -> pd.DataFrame:
    """Return one row per arm with a complete confirmation trial.

    Columns: arm; params_train, params_inference (numbers); macs_train, macs_inference (multiply-accumulates of one
    image forward); epoch_s (median time of a training epoch, the first one of a trial left out), relative_time (to the
    reference arm's); peak_memory_mib and gpu_hours (search and confirmation), NaN where not recorded or no GPU ran.
    """
    trials, study = full_confirmations(results), results.study
    if not len(trials):
        return pd.DataFrame()
    seconds = _epoch_seconds(results)
    base = seconds.get(study.table.reference, math.nan)
    rows = []
    for arm in study.arms:
        mine = trials[trials["arm"] == arm]
        if not len(mine):
            continue
        row: dict[str, object] = {"arm": arm} | {name: int(mine[f"cost/{name}"].max()) for name in COUNTS}
        row |= {"epoch_s": seconds.get(arm, math.nan), "relative_time": seconds.get(arm, math.nan) / base}
        row["peak_memory_mib"] = mine[PEAK_MEMORY_MIB].max() if PEAK_MEMORY_MIB in mine else math.nan
        row["gpu_hours"] = _gpu_hours(results, arm)
        rows.append(row)
    return pd.DataFrame(rows)


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
            *(Cell(_short(float(row[key]))) for key in counts),
            *(number(float(row[key]), digits=digits) for key, (_, digits) in known.items()),
        )
        for _, row in costs.iterrows()
    )
    note = "MACs: multiply-accumulates of convolutions and linear layers, one image, forward; s per epoch: median of"
    note += " training, without a trial's first epoch, with whatever else ran on the machine at that time."
    return Grid("Cost of each arm", header, rows, (note,))


def _epoch_seconds(results: Results) -> dict[str, float]:
    epochs = results.epochs
    if not len(epochs) or "time/train_s" not in epochs:
        return {}
    warm = epochs[(epochs["phase"] == "confirm") & ((epochs["epoch"] > 1) | (results.study.trial.epochs == 1))]
    return {str(arm): float(value) for arm, value in warm.groupby("arm")["time/train_s"].median().items()}


def _gpu_hours(results: Results, arm: str) -> float:
    gpus, epochs = results.study.trial.resources.gpus, results.epochs
    if not gpus or not len(epochs) or "time/train_s" not in epochs:
        return math.nan
    return float(epochs.loc[epochs["arm"] == arm, "time/train_s"].sum()) * gpus / 3600


def _short(count: float) -> str:
    """Return a count to three digits: 19.1 k, 36.5 M, 5.24 G."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"
