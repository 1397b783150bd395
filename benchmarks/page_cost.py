"""What the page of a running study costs, in seconds of CPU: python benchmarks/page_cost.py.

A study is made up in a temporary folder: five arms, their searches ended and all confirmations but two, of which one
runs; each trial has its epochs, and its line in the ledger. `start`: the process that draws, from its beginning to its
end, with one page. `page`: each further one, in this process. `served`: new numbers, as `dks-study watch` reads them.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from measuring.alternating import machine, seconds_of

from dks_study.spec.objectives import ACCURACY
from dks_study.spec.study import StudySpec
from dks_study.study import provenance
from dks_study.study.cell import Cell
from dks_study.study.ledger import Ledger, Outcome, Record
from dks_study.study.planner import Planner
from dks_study.watch.live.drawing import draw
from dks_study.watch.live.page import study_data
from dks_study.watch.live.snapshot import snapshot

ARMS = ("baseline", "ds", "top_down", "bottom_up", "dense")
EPOCHS = 15
NAMES = ("stage1", "stage2", "main")


def study(searches: int, seeds: int) -> StudySpec:
    """Return a study of so many search trials and report seeds of each arm."""
    values = {
        "name": "made_up",
        "question": "What does its page cost?",
        "profile": "none",
        "trial": {
            "backbone": {"name": "resnet", "depth": 8, "base_channels": 8},
            "data": {"name": "digits"},
            "branches": {"taps": ["stage1", "stage2"]},
            "epochs": EPOCHS,
        },
        "arms": {arm: {"loss.pairing": "none" if arm in ("baseline", "ds") else arm} for arm in ARMS},
        "search": {
            "trials": searches,
            "finalists": 1,
            "race_seeds": 0,
            "seed": 10**6,
            "axes": {"optimiser.lr": {"float": [0.03, 0.3], "log": True}},
        },
        "report_seeds": list(range(seeds)),
        "table": {"title": "Made up", "reference": "baseline"},
    }
    return StudySpec.model_validate_json(json.dumps(values))


def make(folder: Path, spec: StudySpec) -> int:
    """Write the study as it stands shortly before its end; return how many trials are in its ledger."""
    folder.mkdir(parents=True)
    provenance.write_provenance(folder, spec, [], provenance.new_session(0))
    (folder / "lock").write_text("process 1 on elsewhere since 2026-11-29 00:00:00", encoding="utf-8")
    random, cells = np.random.default_rng(0), list[Cell]()
    planner = Planner(spec, lambda *_: {"optimiser.lr": float(random.uniform(0.03, 0.3))})
    rows = dict[str, list[dict[str, float]]]()
    while isinstance(cell := planner.next(), Cell):
        cells.append(cell)
        rows[cell.id] = [_metrics(random, epoch) for epoch in range(1, cell.epochs + 1)]
        planner.settle(cell.id, Outcome("complete", rows[cell.id][-1]))
    ledger = Ledger(folder / "ledger.jsonl")
    *ended, running, _ = cells  # the last has not begun
    for cell in (*ended, running):
        known = rows[cell.id] if cell is not running else rows[cell.id][: EPOCHS // 2]
        trial = folder / "trials" / cell.id
        trial.mkdir(parents=True)
        (trial / "epochs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in known), encoding="utf-8")
        (trial / "trial.json").write_text(json.dumps({"seed": cell.seed, "epochs": cell.epochs}), encoding="utf-8")
        if cell is not running:
            outcome = Outcome("complete", known[-1], seconds=5.0)
            ledger.append(Record(cell, outcome, "hash", provenance.now(), identity=f"{len(ledger.records):064x}"))
    return len(ledger.records)


def _metrics(random: np.random.Generator, epoch: int) -> dict[str, float]:
    names = [f"{split}/{kind}/{name}" for split in ("train", "val") for kind in ("top1", "loss") for name in NAMES]
    names += [f"{split}/kl/{t}>{s}" for split in ("train", "val") for t in NAMES for s in NAMES if t != s]
    return {"epoch": float(epoch), **{name: float(random.uniform(60, 90)) for name in (*names, ACCURACY)}}


def started(folder: Path) -> float:
    """Return the seconds of CPU of the process that draws, from its beginning, through one page, to its end."""
    before = _of_children()
    words = [sys.executable, "-m", "dks_study.watch.live.drawing", str(folder)]
    subprocess.run(words, input="\n", text=True, check=True)
    return _of_children() - before


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of CPU of each side, the sides in turn; the first round is not kept."""
    sides: Mapping[str, Callable[[], float]] = {
        "start": lambda: started(folder),
        "page": lambda: seconds_of(lambda: draw(folder, ""), clock=time.process_time),
        "served": lambda: seconds_of(lambda: json.dumps(study_data(snapshot(folder))), clock=time.process_time),
    }
    found = [{name: side() for name, side in sides.items()} for _ in range(rounds + 1)]
    return {name: [each[name] for each in found[1:]] for name in sides}


def main(words: Sequence[str] | None = None) -> None:
    """Print the seconds of CPU of each part, by size of the study."""
    parser = argparse.ArgumentParser(description="What does the page of a running study cost?")
    parser.add_argument("--rounds", type=int, default=10, help="of each side (10)")
    parser.add_argument("--searches", type=int, nargs="+", default=[46, 384], help="search trials of an arm (46 384)")
    parser.add_argument("--seeds", type=int, default=8, help="report seeds (8)")
    options = parser.parse_args(words)
    print(machine())
    for searches in options.searches:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "made_up-1")
            trials = make(folder, study(searches, options.seeds))
            for name, seconds in measure(folder, options.rounds).items():
                low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
                print(f"{trials:,} trials, {name}: {middle:.3f} s of CPU ({low:.3f} to {high:.3f}, n {len(seconds)})")


if __name__ == "__main__":
    main()
