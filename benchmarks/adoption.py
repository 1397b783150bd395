"""How long a study takes to adopt 2,000 finished trials: from reading the donor's ledger to the last own line.

The donor is made up: the real planner hands its trials out, and each has a folder with description, origin, epochs,
log, outcome and (in the confirmations) checkpoints of a small network. It is adopted by what a session adopts with:
planner, copies and checks of them, ledger, Optuna journal, checkpoints to keep. Ray, which starts before, has no part.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from measuring.alternating import machine
from measuring.instant import instant_metrics, instant_study

from dks_study.engine.hands import Hands
from dks_study.engine.tuning import PlannedSearch
from dks_study.spec.study import StudySpec, arm_trial
from dks_study.spec.trial import TrialSpec
from dks_study.study import provenance
from dks_study.study.adoption import Adoption
from dks_study.study.cell import Cell
from dks_study.study.donors import donors_in
from dks_study.study.identity import Kept, environment, identity, origin_of, write_origin
from dks_study.study.keeping import Checkpoints
from dks_study.study.ledger import Ledger, Outcome, Record, write_outcome
from dks_study.study.planner import Planner
from dks_study.study.search import optuna_suggest
from dks_study.study.storage import Files
from dks_study.watch.display import PlainDisplay
from dks_study.watch.mirror import Mirror
from dks_study.watch.progress import Tracker

CPU, DATA, TARGET_S = torch.device("cpu"), "made up", 5.0
COSTS = {f"cost/{what}_{when}": 1.0 for what in ("params", "macs") for when in ("train", "inference")}
SIZES = dict.fromkeys(("random", "qmc", "tpe"), (20, 50, 50))  # by sampler: arms, search trials and seeds of each


def study_of(sampler: str, arms: int, searches: int, seeds: int, name: str = "donor") -> StudySpec:
    """Return a study of so many trials, with test accuracies that a table can show."""
    values = instant_study(searches, seeds, arms).model_dump(mode="json", by_alias=True, exclude_unset=True)
    values |= {"name": name, "search": values["search"] | {"sampler": sampler}}
    return StudySpec.model_validate_json(json.dumps(values))


def make_up(study: StudySpec, folder: Path) -> int:
    """Write what `study` leaves when it is done; return how many trials it has."""
    folder.mkdir(parents=True)
    ledger, planner = Ledger(folder / "ledger.jsonl"), Planner(study, optuna_suggest(study))
    weights = {"weights": torch.zeros(20_000)}
    while isinstance(cell := planner.next(), Cell):
        trial = arm_trial(study, cell.arm, cell.setting, epochs=cell.epochs, phase=cell.phase, seed=cell.seed)
        metrics = {"epoch": 1.0, **instant_metrics(trial), "test/top1/main": 90.0 - cell.seed % 7, **COSTS}
        steps = [metrics["val/top1/main"]] if cell.phase == "search" else []
        outcome, place = Outcome("complete", metrics, steps=steps), folder / "trials" / cell.id
        place.mkdir(parents=True)
        (place / "trial.json").write_text(trial.model_dump_json(indent=1), encoding="utf-8")
        (place / "epochs.jsonl").write_text(json.dumps(metrics) + "\n", encoding="utf-8")
        (place / "log.txt").write_text("made up\n", encoding="utf-8")
        for name in ("last.pt", "best.pt") if cell.phase == "confirm" else ():
            torch.save(weights, place / name)
        origin = origin_of(trial, environment(CPU)) or {}
        write_origin(place, Kept(origin))
        write_outcome(place, outcome)
        named = identity(trial, DATA, origin)
        ledger.append(Record(cell, outcome, trial.content_hash(), provenance.now(), DATA, named))
        planner.settle(cell.id, outcome)
    provenance.write_provenance(folder, study, [], provenance.new_session(0))
    return len(ledger.records)


def adopt(
    study: StudySpec, folder: Path, studies: list[Path], note: Callable[[str], None] = lambda _: None
) -> list[tuple[Cell, TrialSpec]]:
    """Let `study` in `folder` take what it can from `studies`; return what would be trained."""
    folder.mkdir(parents=True, exist_ok=True)
    files, ledger, display = Files(folder, None), Ledger(folder / "ledger.jsonl"), PlainDisplay(Tracker(study))
    donors, kept = donors_in(studies, folder, note), {"checkpoints": False, "predictions": True}
    adoption = Adoption(study, files, donors, (), DATA, environment(CPU), **kept)
    checkpoints, mirror = (
        Checkpoints(study, files, dict.fromkeys(study.arms, 1), None),
        Mirror(study, folder, None, note),
    )
    mirror.restore(ledger.records)
    data = cast(Any, SimpleNamespace(fingerprint=SimpleNamespace(digest=DATA)))
    hands = Hands(files, ledger, cast(Any, None), checkpoints, mirror, display, "code", data, adoption)
    return PlannedSearch(study, Planner(study, optuna_suggest(study), ledger.records), hands).adopt()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine(), flush=True)
    print("| sampler | trials | median (s) | range | CPU time, median (s) |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="dks-") as scratch:  # one for all: ext4 is slow after files were deleted
        for sampler, size in SIZES.items():
            folder, wall, cpu = Path(scratch) / sampler, list[float](), list[float]()
            trials = make_up(study_of(sampler, *size), folder / "donor")
            for number in range(options.rounds):
                began, used = time.perf_counter(), time.process_time()
                left = adopt(study_of(sampler, *size, name="grown"), folder / str(number), [folder / "donor"])
                wall.append(time.perf_counter() - began)
                cpu.append(time.process_time() - used)
                if left:
                    raise RuntimeError(f"{len(left)} trials were not adopted")
            spread = f"{min(wall):.2f} to {max(wall):.2f}"
            middle = f"{statistics.median(wall):.2f} | {spread} | {statistics.median(cpu):.2f}"
            print(f"| {sampler} | {trials} | {middle} |", flush=True)
    print(f"target: {TARGET_S} s at most for 2,000\n{machine()}")


if __name__ == "__main__":
    main()
