"""Studies whose trials train nothing, run by the real `run_study`: what is left is what a trial costs besides training.

Reports, epochs.jsonl, checkpoints (of no weights), outcomes, ledger, Optuna journal, TensorBoard files, gauges and the
live table are all written as ever. Ray's settings (dks_study.engine.ray_settings) must be made before this is imported.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from dks_study.engine import cell, group, tuning
from dks_study.engine.session import Ending, Where, running
from dks_study.engine.sharing import SharedData
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import TrialSpec
from dks_study.study import trial
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.training.checkpoint import State
from dks_study.training.data import DataSet
from dks_study.training.team import Team
from dks_study.training.trainer import Chosen, EpochReport
from dks_study.watch.display import make_display
from dks_study.watch.event_files import EventFiles
from dks_study.watch.gauges import StudyGauges
from dks_study.watch.observers import Observed
from dks_study.watch.progress import Metrics

_RUN_CELL, _TRAIN_LOOP = cell.run_cell, group.train_loop


def instant_study(
    searches: int, seeds: int, arms: int = 1, sampler: str = "auto", epochs: int = 1, **resources: int
) -> StudySpec:
    """Return a study of `arms` with so many search trials and report seeds each.

    The search is over three axes, by default with TPE. `resources` are those of a trial.
    """
    run = {
        "backbone": {"name": "resnet", "depth": 8, "base_channels": 4},
        "branches": {"taps": ["stage1", "stage2"]},
        "loss": {"pairing": "dense"},
        "data": {"name": "digits"},
        "optimiser": {"lr": 0.1, "batch_size": 128},
        "epochs": epochs,
        "resources": {"workers": 0, "cpus_per_worker": 1, **resources},
    }
    ranges = {"optimiser.lr": [0.03, 0.3], "loss.branch_weight": [0.25, 2.0], "loss.synergy_weight": [0.25, 2.0]}
    axes = {key: {"float": ends, "log": True} for key, ends in ranges.items()}
    values = {
        "name": "instant",
        "question": "What does a trial cost besides its training?",
        "profile": "none",
        "trial": run,
        "arms": {f"arm{number}": {} for number in range(arms)},
        "search": {"trials": searches, "seed": 10**6, "sampler": sampler, **({"axes": axes} if searches else {})},
        "report_seeds": list(range(seeds)),
        "table": {"title": "Nothing", "reference": "arm0"},
    }
    return StudySpec.model_validate_json(json.dumps(values))


def instant_metrics(spec: TrialSpec) -> dict[str, float]:
    """Return made-up metrics of an epoch, with those that something asks for."""
    top1 = 100 / (1 + abs(spec.optimiser.lr - 0.1)) - spec.seed % 7
    return {"val/top1/main": top1, "train/loss": 1.0, "train/images_per_s": 1.0, "time/train_s": 0.0}


def instant_fit(
    spec: TrialSpec, _data: DataSet, _team: Team, _resume: State | None, _chosen: Chosen | None = None, **_asked: object
) -> Iterator[EpochReport]:
    """Stand in for `trainer.fit`."""
    for epoch in range(1, spec.epochs + 1):
        yield EpochReport(epoch, instant_metrics(spec), State(spec.content_hash(), epoch, {}, None, {}, {}, {}))


def instant_cell(config: dict[str, Any], data: SharedData) -> None:
    """Stand in for `cell.run_cell`: the same, with `instant_fit`."""
    trial.fit = instant_fit  # type: ignore[attr-defined, assignment]  # in the process of the trial
    group.train_loop = instant_loop  # type: ignore[attr-defined]
    _RUN_CELL(config, data)


def instant_loop(packed: dict[str, Any]) -> None:
    """Stand in for `group.train_loop`: the same, with `instant_fit`."""
    trial.fit = instant_fit  # type: ignore[attr-defined, assignment]  # in a process of the group
    _TRAIN_LOOP(packed)


class _Nowhere(StringIO):
    """A file that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)


@dataclass(frozen=True)
class Moment:
    """When something happened to a trial, and what the driver had used by then.

    Attributes:
        event: start, report or end.
        wall_s: of a clock that only goes forward.
        cpu_s: of the driver's process, all threads.
        rss_mib: memory of the driver's process.
    """

    event: str
    wall_s: float
    cpu_s: float
    rss_mib: float


def gaps_ms(moments: Sequence[Moment]) -> list[float]:
    """Return the time between neighbours, in milliseconds."""
    return [1e3 * (after.wall_s - before.wall_s) for before, after in pairwise(moments)]


def parts_ms(moments: Sequence[Moment]) -> dict[str, list[float]]:
    """Return the parts of each trial but the first, in milliseconds, of trials that ran one at a time."""
    moments = moments[3:]  # a start, a report and an end: the first trial's process starts as well
    steps = {"plan": ("end", "start"), "start": ("start", "report"), "end": ("report", "end")}
    found: dict[str, list[float]] = {name: [] for name in steps}
    for before, after in pairwise(moments):
        for name, step in steps.items():
            if (before.event, after.event) == step:
                found[name].append(1e3 * (after.wall_s - before.wall_s))
    return found


def cost_s(ends: Sequence[Moment]) -> float:
    """Return the driver's CPU time for each trial after the first, in seconds."""
    return (ends[-1].cpu_s - ends[0].cpu_s) / (len(ends) - 1)


def slope_kib(ends: Sequence[Moment]) -> float:
    """Return by how much the driver's memory grew with each trial after the first, in KiB."""
    return 1024 * (ends[-1].rss_mib - ends[0].rss_mib) / (len(ends) - 1)


class Clock:
    """A recorder of the moments of a study."""

    name = "clock"

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.moments: list[Moment] = []
        self._process = psutil.Process()

    def started(self, cell: Cell) -> None:
        """`cell` begins."""
        self._see("start")

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """`cell` reports."""
        self._see("report")

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """`cell` has ended."""
        if not earlier:
            self._see("end")

    def end(self) -> None:
        """Nothing to close."""

    def of(self, event: str) -> list[Moment]:
        """Return the moments of one kind of event."""
        return [moment for moment in self.moments if moment.event == event]

    def _see(self, event: str) -> None:
        memory = self._process.memory_info().rss / 2**20
        self.moments.append(Moment(event, time.perf_counter(), time.process_time(), memory))


def run_instant(study: StudySpec, folder: Path, clock: Clock, where: Where | None = None) -> None:
    """Run `study` in `folder` with trials that train nothing; its live table is drawn for nobody."""
    tuning.run_cell = instant_cell  # type: ignore[attr-defined]
    folder.mkdir(parents=True, exist_ok=True)
    display = make_display(study, Console(file=_Nowhere(), force_terminal=True))
    observed = Observed(display, [EventFiles(folder), StudyGauges(study, "instant"), clock])
    with running(study, folder, observed, where or Where()) as ending:
        pass
    if ending != Ending(complete=True, without_result=0):
        raise RuntimeError(f"{folder}: every trial was to complete, got {ending}")
