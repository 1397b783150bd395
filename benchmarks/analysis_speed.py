"""How long tables and report of a large study take: OMP_NUM_THREADS=1 python benchmarks/analysis_speed.py.

Makes up 5 arms of 380 search and 20 confirmation trials of 200 epochs (2,000 trials, 400,000 epoch rows, three
classifiers) in a temporary folder and times, in one process, reading them, the default table, and the whole report.
"""

import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from dks_study.spec.study import StudySpec
from dks_study.study.provenance import new_session, write_provenance

ARMS = ("baseline", "ds", "top_down", "bottom_up", "dense")
SEARCHES, SEEDS, EPOCHS = 380, 20, 200
NAMES = ("stage1", "stage2", "main")


def study() -> StudySpec:
    """Return a study with two searched axes in every arm."""
    values = {
        "name": "made_up",
        "question": "How long does it take to analyse?",
        "profile": "none",
        "trial": {
            "backbone": {"name": "resnet", "depth": 8, "base_channels": 8},
            "data": {"name": "digits"},
            "branches": {"taps": ["stage1", "stage2"]},
            "epochs": EPOCHS,
        },
        "arms": {arm: {"loss.pairing": "none" if arm in ("baseline", "ds") else arm} for arm in ARMS},
        "search": {
            "trials": SEARCHES,
            "epochs": EPOCHS,
            "seed": 1000,
            "axes": {
                "optimiser.lr": {"float": [0.03, 0.3], "log": True},
                "loss.synergy_weight": {"float": [0.25, 2.0]},
            },
        },
        "report_seeds": list(range(SEEDS)),
        "table": {"title": "Made up", "reference": "baseline"},
    }
    return StudySpec.model_validate_json(json.dumps(values))


def make(folder: Path) -> None:
    """Write a results folder with random numbers in the columns that a trial has."""
    random = np.random.default_rng(0)
    trials = pd.DataFrame(
        [
            {"trial": f"{arm}-{phase}-{index}", "arm": arm, "row": arm, "phase": phase, "index": index, "seed": index}
            for arm in ARMS
            for phase, count in (("search", SEARCHES), ("confirm", SEEDS))
            for index in range(count)
        ]
    )
    trials = trials.assign(epochs=EPOCHS, status="complete", error=None, trial_hash="h", ended="now")
    trials["setting/optimiser.lr"] = random.uniform(0.03, 0.3, len(trials))
    trials["setting/loss.synergy_weight"] = random.uniform(0.25, 2.0, len(trials))
    rows = trials.loc[trials.index.repeat(EPOCHS), ["trial", "arm", "phase", "seed"]].reset_index(drop=True)
    rows["epoch"] = np.tile(np.arange(1, EPOCHS + 1), len(trials))
    names = [
        f"{split}/{kind}/{name}" for split in ("train", "val", "test") for kind in ("top1", "loss") for name in NAMES
    ]
    names += [f"{split}/kl/{t}>{s}" for split in ("train", "val") for t in NAMES for s in NAMES if t != s]
    numbers = pd.DataFrame({name: random.uniform(60, 90, len(rows)) for name in [*names, "time/train_s"]})
    costs = {f"cost/{name}": 1e5 for name in ("params_train", "params_inference", "macs_train", "macs_inference")}
    epochs = pd.concat([rows, numbers.assign(**costs)], axis=1)
    last = epochs[epochs["epoch"] == EPOCHS].drop(columns=["trial", "arm", "phase", "seed", "epoch"])
    pd.concat([trials, last.reset_index(drop=True)], axis=1).to_parquet(folder / "trials.parquet")
    epochs.to_parquet(folder / "epochs.parquet")
    write_provenance(folder, study(), [], new_session(0))


def main() -> None:
    """Print the seconds of each part."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        marks = [("start", time.perf_counter())]
        from dks_study.analysis.report.page import write_report
        from dks_study.analysis.tables.study import write_tables
        from dks_study.study.results import load_results

        marks.append(("import", time.perf_counter()))
        results = load_results(folder)
        marks.append((f"read {len(results.trials):,} trials, {len(results.epochs):,} epochs", time.perf_counter()))
        write_tables(results, folder)
        marks.append(("table", time.perf_counter()))
        size = write_report(results, folder).stat().st_size
        marks.append((f"report ({size / 1e6:.1f} MB)", time.perf_counter()))
    for (_, before), (name, after) in pairwise(marks):
        print(f"{name}: {after - before:.2f} s")
    print(f"all: {marks[-1][1] - marks[0][1]:.2f} s")


if __name__ == "__main__":
    main()
