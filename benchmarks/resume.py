"""How soon a study with 2,000 finished trials goes on: the real command, until its first new trial is there.

The trials are made up: the real planner hands them out, the real ledger, Optuna journal and provenance are written, and
each trial has a folder with its epochs and its outcome. One search trial and its arm's confirmations are still to do.
The other side is the same study with nothing done. Moments: Ray has started (its dashboard is announced), the trial is
handed out (it is in the journal), the trial trains (its trial.json is there).
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import yaml
from measuring.alternating import machine

from dks_study.spec.files import load_study
from dks_study.spec.objectives import ACCURACY
from dks_study.spec.study import StudySpec, arm_trial
from dks_study.study import provenance
from dks_study.study.cell import Cell, search_id
from dks_study.study.ledger import Ledger, Outcome, Record, write_outcome
from dks_study.study.planner import Planner
from dks_study.study.search import optuna_suggest
from dks_study.watch.mirror import JOURNAL, Mirror

ROOT = Path(__file__).resolve().parent.parent
ARMS, SEARCHES, SEEDS = 5, 321, 99  # 5 * (321 + 99) trials, of which 1 + 99 are still to do
LEFT = search_id(f"arm{ARMS - 1}", SEARCHES - 1)
MOMENTS = ("Ray has started", "a trial is handed out", "it trains")
TARGET_S = 5.0  # from the first moment to the second


def write_description(folder: Path) -> Path:
    """Write a question and its scale; return the question's file."""
    ranges = {"optimiser.lr": [0.03, 0.3], "loss.branch_weight": [0.25, 2.0], "loss.synergy_weight": [0.25, 2.0]}
    space = {
        "question": "How soon does it go on?",
        "profile": str(folder / "tiny.yaml"),
        "arms": {f"arm{number}": {} for number in range(ARMS)},
        "search": {"axes": {key: {"float": ends, "log": True} for key, ends in ranges.items()}},
        "table": {"title": "Nothing", "reference": "arm0"},
    }
    scale = {
        "about": "trials of one epoch",
        "trial": {
            "backbone": {"name": "resnet", "depth": 8, "base_channels": 4},
            "branches": {"taps": ["stage1", "stage2"]},
            "data": {"name": "digits"},
            "epochs": 1,
        },
        "search": {"trials": SEARCHES, "seed": 10**6},
        "report_seeds": list(range(SEEDS)),
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(scale), encoding="utf-8")
    (folder / "large.yaml").write_text(yaml.safe_dump(space), encoding="utf-8")
    return folder / "large.yaml"


def make_up(study: StudySpec, folder: Path) -> int:
    """Write what a study leaves that was killed shortly before its end; return how many trials are in the ledger."""
    folder.mkdir(parents=True)
    ledger, planner = Ledger(folder / "ledger.jsonl"), Planner(study, optuna_suggest(study))
    while isinstance(cell := planner.next(), Cell):
        if cell.id == LEFT:
            continue  # it counts as running, and its arm's confirmations wait for it
        metrics = {"epoch": 1.0, ACCURACY: 90 - 100 * abs(float(cell.setting["optimiser.lr"]) - 0.1)}
        outcome = Outcome("complete", metrics, steps=[metrics[ACCURACY]] if cell.phase == "search" else [])
        phase: Literal["search", "confirm"] = "confirm" if cell.phase == "confirm" else "search"
        trial = arm_trial(study, cell.arm, cell.setting, epochs=cell.epochs, phase=phase, seed=cell.seed)
        place = folder / "trials" / cell.id
        place.mkdir(parents=True)
        (place / "epochs.jsonl").write_text(json.dumps(metrics) + "\n", encoding="utf-8")
        write_outcome(place, outcome)
        ledger.append(Record(cell, outcome, trial.content_hash(), provenance.now()))
        planner.settle(cell.id, outcome)
    provenance.write_provenance(folder, study, [], provenance.new_session(0))
    Mirror(study, folder, None, print).restore(ledger.records)
    return len(ledger.records)


def moments_s(space: Path, results: Path, trial: str) -> dict[str, float]:
    """Start the command, end it when its first new `trial` trains; return the moments in seconds from its start."""
    words = [sys.executable, "run_study.py", "--space", str(space), "--results", str(results)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    started, seen = time.perf_counter(), dict[str, float]()
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )

    def listen() -> None:
        for line in process.stdout or ():
            if line.startswith("Ray dashboard"):
                seen[MOMENTS[0]] = time.perf_counter() - started

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        while MOMENTS[2] not in seen:
            time.sleep(0.01)
            if process.poll() is not None:
                raise RuntimeError(f"the study has ended with {process.returncode}")
            look(next(results.glob("large-*"), results), trial, seen, started)
    finally:
        for _ in range(2):  # twice: now
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        listener.join()
        process.wait()
    return seen


def look(folder: Path, trial: str, seen: dict[str, float], started: float) -> None:
    """Note what has come to pass in a study's folder."""
    journal = folder / JOURNAL
    if MOMENTS[1] not in seen and journal.exists() and f'"{trial}"' in _end_of(journal):
        seen[MOMENTS[1]] = time.perf_counter() - started
    if (folder / "trials" / trial / "trial.json").exists():
        seen[MOMENTS[2]] = time.perf_counter() - started


def _end_of(path: Path, size: int = 4096) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode(errors="replace")


def show_moments(side: str, runs: Sequence[Mapping[str, float]]) -> None:
    """Print rows of a table: median and range of each moment, and of the time between the first two."""
    rows = {f"{name}, from the command's start": [run[name] for run in runs] for name in MOMENTS}
    rows["from Ray's start to a trial handed out"] = [run[MOMENTS[1]] - run[MOMENTS[0]] for run in runs]
    for name, values in rows.items():
        print(f"| {side}: {name} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine(), flush=True)
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="dks-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        space = write_description(folder)
        study = load_study(str(space))
        name = f"{study.name}-{study.content_hash()}"
        done = make_up(study, folder / "made_up" / name)
        sides = {f"{done} trials done": LEFT, "nothing done": search_id("arm0", 0)}
        for number in range(options.rounds):
            for side, first in sides.items() if number % 2 else reversed(sides.items()):
                results = folder / f"{number} {side}"
                if side != "nothing done":
                    shutil.copytree(folder / "made_up", results)
                runs.setdefault(side, []).append(moments_s(space, results, first))
    print(f"| moment | median (s) | range (n {options.rounds}) |\n|---|---|---|")
    for side, seen in runs.items():
        show_moments(side, seen)
    print(f"target: from Ray's start to a trial handed out under {TARGET_S} s\n{machine()}")


if __name__ == "__main__":
    main()
