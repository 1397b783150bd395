"""Results of a study that tuned its arms but never ran: searches, rows as tuned and as written, known numbers."""

import json

import numpy as np
import pandas as pd
from studies import small_study

from dks_study.spec.study import StudySpec
from dks_study.study.results import Results

WRITTEN = {"baseline": 20.0, "ds": 18.0, "dense": 10.0}  # % of main as written
TUNED = {"baseline": 8.0, "ds": 7.5, "dense": 6.0}  # at the best rate and length
AXES = {
    "optimiser.lr": {"float": [0.05, 0.8], "log": True, "role": "nuisance", "widen_to": [0.01, 2.0]},
    "epochs": {"int": [2, 10], "role": "nuisance"},
}
OWN = {"optimiser.lr": 0.1, "epochs": 10}  # the arm as written
COSTS = {"cost/params_train": 30.0, "cost/params_inference": 10.0, "cost/macs_train": 9.0, "cost/macs_inference": 3.0}


def tuned_study(seeds=8, repeats=2, trials=9, axes=AXES, **search) -> StudySpec:
    """Return a study of three arms with two nuisance axes."""
    values = small_study(report_seeds=tuple(range(seeds)), epochs=10).model_dump(
        mode="json", by_alias=True, exclude_unset=True
    )
    known = {"trials": trials, "repeats": repeats, "finalists": 2, "race_seeds": 2, "seed": 99, "sampler": "qmc"}
    values["search"] = {**known, "axes": axes, **search}
    return StudySpec.model_validate_json(json.dumps(values))


def tuned(seeds=8, repeats=2, noise=0.3, choice=0.0, **search) -> Results:
    """Return results: a seed adds 0.1 times its number to every arm and `noise` times standard normal.

    Each search of an arm adds `choice` times another; of several, the last one chose the arm as written.
    """
    study, random = tuned_study(seeds, repeats, **search), np.random.default_rng(0)
    rows = []
    for arm in study.arms:
        for repeat in range(repeats):
            rows += _searched(study, arm, repeat, random)
        luck = choice * random.normal(size=repeats)
        for position in range(seeds):
            repeat = position % repeats
            both = repeats > 1 and repeat == repeats - 1
            written = WRITTEN[arm] + 0.1 * position + noise * random.normal()
            known = {"seed": position, "index": position, "repeat": repeat, "phase": "confirm"}
            rows.append(_row(arm, written, OWN, **known, choice="written", row=f"{arm} (as written)"))
            setting = OWN if both else _best(repeat)
            error = written if both else TUNED[arm] + luck[repeat] + 0.1 * position + noise * random.normal()
            trial = rows[-1]["trial"] if both else None
            rows.append(_row(arm, error, setting, **known, choice="tuned", row=arm, trial=trial))
    epochs = [
        {**{key: row[key] for key in ("trial", "arm", "phase", "seed")}, "epoch": epoch, **_metrics(epoch)}
        for row in {row["trial"]: row for row in rows}.values()
        for epoch in range(1, row["epochs"] + 1)
    ]
    return Results(study, pd.DataFrame(rows), pd.DataFrame(epochs))


def _best(repeat):
    return {"optimiser.lr": round(0.2 + 0.05 * repeat, 3), "epochs": 6}


def _metrics(epoch):
    kl = {f"train/kl/{pair}": 1 / epoch for pair in ("stage1>main", "main>stage1")}
    return {"val/top1/main": 80.0 + epoch, "train/top1/main": 50.0 + 2 * epoch, "time/train_s": 1.0, **kl}


def _searched(study, arm, repeat, random):
    rows, (low, high) = [], AXES["optimiser.lr"]["float"]
    for index in range(study.search.trials):
        lr, length = low * (high / low) ** random.uniform(), int(random.integers(2, 11))
        setting = {0: OWN, 1: _best(repeat)}.get(index, {"optimiser.lr": lr, "epochs": length})
        error = TUNED[arm] + 8 * np.log10(setting["optimiser.lr"] / 0.25) ** 2 + 0.3 * (setting["epochs"] - 6) ** 2
        error += random.normal(0, 0.3)
        rows.append(_row(arm, error, setting, seed=99, index=index, repeat=repeat, phase="search", row=arm))
    return rows


def _row(arm, error, setting, *, seed, index, repeat, phase, row, choice=None, trial=None):
    name = {"confirm": "written" if choice == "written" else "confirm"}.get(phase, phase)
    return {
        **{"trial": trial or f"{arm}-{name}{repeat}-{index}", "arm": arm, "row": row, "phase": phase, "repeat": repeat},
        **{"choice": choice, "index": index, "seed": seed, "epochs": setting["epochs"], "status": "complete"},
        **{"error": None, "accumulate": None, "trial_hash": "h", "ended": "now"},
        **{f"setting/{key}": value for key, value in setting.items()},
        **{"val/top1/main": 100 - error, "test/top1/main": 100 - error, "test_chosen/top1/main": 100.5 - error},
        **{"test/top1/stage1": 98 - error, "chosen_epoch": max(1, setting["epochs"] - 1), **COSTS},
    }
