"""How much of the default study's answer is the luck of its search: the same study with other values of `search.seed`.

Each study is played by the planner, the samplers and the training code that the command uses, in one process and
without Ray: the same trials, and the same numbers (benchmarks/stability.md compares one with the command). A trial that
several studies share, such as an arm as written on a report seed, is trained once. What has been trained stays in
--results, from which the same command goes on.

With ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 in the environment, and another --results, the same sums are added
in another order.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import torch

from dks_study.analysis.tables.study import write_tables
from dks_study.engine.ray_settings import use_ray_settings
from dks_study.spec.files import load_study
from dks_study.spec.study import StudySpec, arm_trial
from dks_study.spec.trial import TrialSpec
from dks_study.study import provenance
from dks_study.study.cell import Cell
from dks_study.study.ledger import Ledger, Outcome, Record, read_outcome
from dks_study.study.planner import Planner
from dks_study.study.results import load_results, write_results
from dks_study.study.search import optuna_suggest
from dks_study.study.trial import run_trial

LARGEST_SD = 1.0  # points, of an arm's mean test error over search seeds


def main() -> None:
    """Play the studies and print how far apart they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="dense_vs_oneway")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000 * n for n in range(1, 11)])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    studies = {s: load_study(options.space, None, [*options.set, f"search.seed={s}"]) for s in options.seeds}
    with ProcessPoolExecutor(options.processes) as pool:
        folders = [pool.submit(play, study, options.results, seed) for seed, study in studies.items()]
        tables = {seed: errors(each.result()) for seed, each in zip(studies, folders, strict=True)}
    frame = pd.DataFrame(tables).T
    print(frame.round(2).to_markdown())
    print(pd.DataFrame({"mean": frame.mean(), "sd": frame.std(ddof=1)}).round(2).to_markdown())
    print(f"target: no sd above {LARGEST_SD}")


def play(study: StudySpec, results: Path, seed: int) -> Path:
    """Run `study` to its end in a folder of `results`; return the folder."""
    torch.set_num_threads(1)
    folder = results / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / "ledger.jsonl")
    planner = Planner(study, optuna_suggest(study), ledger.records)
    while isinstance(cell := planner.next(), Cell):
        phase = "confirm" if cell.phase == "confirm" else "search"
        trial = arm_trial(study, cell.arm, cell.setting, epochs=cell.epochs, phase=phase, seed=cell.seed)
        outcome = _trained(trial, results / "shared" / trial.content_hash())
        ledger.append(Record(cell, outcome, trial.content_hash(), provenance.now()))
        planner.settle(cell.id, outcome)
    provenance.write_provenance(folder, study, [], provenance.ended(provenance.new_session(0)))
    for record in ledger.records:
        link = folder / "trials" / record.cell.id
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to((results / "shared" / record.trial_hash).resolve())
    write_results(folder)
    return folder


def _trained(trial: TrialSpec, folder: Path) -> Outcome:
    while (outcome := read_outcome(folder)) is None:
        run_trial(trial, folder, torch.device("cpu"), lambda _: None)
        for checkpoint in folder.glob("*.pt"):
            checkpoint.unlink()
    return outcome


def errors(folder: Path) -> pd.Series:
    """Return the mean test error of each row of the table, in percent; the table itself is written beside it."""
    results = load_results(folder)
    write_tables(results, folder)
    confirmed = results.trials[results.trials["phase"] == "confirm"]
    return 100 - confirmed.groupby("row", sort=False)["test/top1/main"].mean()


if __name__ == "__main__":
    use_ray_settings(alone=True)
    main()
