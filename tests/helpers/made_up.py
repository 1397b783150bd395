"""Results of studies that never ran, with numbers that are known."""

import numpy as np
import pandas as pd
from studies import small_study

from dks_study.study.provenance import new_session, write_provenance
from dks_study.study.results import Results

ERRORS = {"baseline": 20.0, "ds": 18.0, "dense": 12.0}  # % of main; a seed adds 0, 1, 2, ... to every arm
CLASSIFIERS = {"baseline": ("main",), "ds": ("stage1", "stage2", "main"), "dense": ("stage1", "stage2", "main")}


def made_up(seeds=6, searches=4, epochs=3, noise=0.1, gpus=False, **trial) -> Results:
    """Return the results of a small study: errors by arm and seed as in ERRORS, plus `noise` times standard normal."""
    if gpus:
        trial["resources"] = {"gpus_per_worker": 1.0}
    study = small_study(trials=searches, epochs=epochs, report_seeds=tuple(range(seeds)), **trial)
    random = np.random.default_rng(0)
    trials, rows = [], []
    for arm in study.arms:
        for phase, count in (("search", searches), ("confirm", seeds)):
            for index in range(count):
                known = {"trial": f"{arm}-{phase}-{index}", "arm": arm, "phase": phase, "seed": index}
                made = _epochs(arm, index, epochs if phase == "confirm" else 1, noise, random)
                rows += [{**known, **each} for each in made]
                last = {key: value for key, value in made[-1].items() if key != "epoch"}
                lr = 0.01 * 20 ** (index / max(1, searches - 1)) if phase == "search" else 0.05
                trials.append(
                    {
                        **known,
                        "row": arm,
                        "index": index,
                        **_settled(made[-1]["epoch"]),
                        "setting/optimiser.lr": lr,
                        **last,
                    }
                )
    return Results(study, pd.DataFrame(trials), pd.DataFrame(rows))


def _settled(epochs):
    return {"epochs": epochs, "status": "complete", "error": None, "trial_hash": "h", "ended": "now"}


def _epochs(arm, seed, epochs, noise, random):
    branches = len(CLASSIFIERS[arm]) > 1
    cost = {"cost/params_train": 30.0 if branches else 10.0, "cost/params_inference": 10.0}
    cost |= {"cost/macs_train": 3000.0 if branches else 1000.0, "cost/macs_inference": 1000.0}
    made = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "time/train_s": (9.0 if epoch == 1 else 2.0 if branches else 1.0), **cost}
        for depth, name in enumerate(reversed(CLASSIFIERS[arm])):
            error = ERRORS[arm] + seed + 5 * depth + 10 * (epochs - epoch) + noise * random.normal()
            row |= {f"{split}/top1/{name}": 100 - error for split in ("train", "val", "test")}
        pairs = [(t, s) for t in CLASSIFIERS[arm] for s in CLASSIFIERS[arm] if t != s]
        row |= {f"train/kl/{teacher}>{student}": 1 / epoch for teacher, student in pairs}
        made.append(row)
    return made


def write(folder, results):
    """Write a results folder as a study leaves it."""
    folder.mkdir(exist_ok=True)
    results.trials.to_parquet(folder / "trials.parquet")
    results.epochs.to_parquet(folder / "epochs.parquet")
    write_provenance(folder, results.study, [], new_session(0))
    return folder


def with_front() -> Results:
    """Return a study of two objectives in which two settings of `dense` are confirmed: dense#2 is a point worse."""
    made = made_up(noise=0.0)
    search = made.study.search.model_copy(update={"objectives": ("val/top1/main", "cost/macs_train")})
    trials, epochs = made.trials.copy(), made.epochs
    mine = (trials["arm"] == "dense") & (trials["phase"] == "confirm")
    trials.loc[mine, "row"] = "dense#1"
    second = trials[mine].assign(row="dense#2", **{"setting/optimiser.lr": 0.1})
    second = second.assign(trial=second["trial"] + "b", **{"test/top1/main": second["test/top1/main"] - 1})
    again = epochs[epochs["trial"].isin(trials.loc[mine, "trial"])]
    again = again.assign(trial=again["trial"] + "b")
    study = made.study.model_copy(update={"search": search})
    return Results(study, pd.concat([trials, second], ignore_index=True), pd.concat([epochs, again], ignore_index=True))
