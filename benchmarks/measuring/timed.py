"""A trial as it is trained by `workers: 0`, which leaves when each of its epochs was in `fit`."""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dks_study.engine import cell
from dks_study.engine.sharing import SharedData
from dks_study.spec.trial import TrialSpec
from dks_study.study import trial
from dks_study.training.checkpoint import State
from dks_study.training.data import DataSet
from dks_study.training.team import Team
from dks_study.training.trainer import Chosen, EpochReport

_RUN_CELL, _FIT = cell.run_cell, trial.fit  # type: ignore[attr-defined]
SPANS = "spans.jsonl"


@dataclass(frozen=True)
class Span:
    """A time in `fit`, in seconds since 1970, and the CPU time that its process used meanwhile."""

    process: int
    start: float
    end: float
    cpu_s: float


def shares(spans: Sequence[Span], begin: float, end: float, cores: int) -> dict[str, float]:
    """Return what the `cores` were used for between two moments, in core seconds.

    Each process of `spans` is taken to have a core of its own.
    """
    by_process: dict[int, list[Span]] = defaultdict(list)
    for span in spans:
        by_process[span.process].append(span)
    last = max(span.end for span in spans)
    trained = sum(span.end - span.start for span in spans)
    before = sum(min(span.start for span in own) - begin for own in by_process.values())
    tail = sum(last - max(span.end for span in own) for own in by_process.values())
    after = cores * (end - last)
    all_ = cores * (end - begin)
    return {
        "in training": trained,
        "before the first epoch": before,
        "between epochs and trials": all_ - trained - before - tail - after,
        "waiting for the last trial": tail,
        "after the last epoch": after,
        "all": all_,
    }


def timed_cell(config: dict[str, Any], data: SharedData) -> None:
    """Stand in for `cell.run_cell`: the same, and a line for each epoch in the trial's folder."""
    path = Path(config["place"].folder) / SPANS

    def fit(
        spec: TrialSpec, split: DataSet, team: Team, resume: State | None, chosen: Chosen | None, *, costs: bool
    ) -> Iterator[EpochReport]:
        epochs = _FIT(spec, split, team, resume, chosen, costs=costs)
        while True:
            started, used = time.time(), time.process_time()
            report = next(epochs, None)
            span = {"process": os.getpid(), "start": started, "end": time.time(), "cpu_s": time.process_time() - used}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(span) + "\n")
            if report is None:
                return
            yield report

    trial.fit = fit  # type: ignore[attr-defined, assignment]  # in the process of the trial
    _RUN_CELL(config, data)
