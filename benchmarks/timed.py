"""A trial as it is trained by `workers: 0`, which leaves when each of its epochs was in `fit`."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dks_study import trial, tuning
from dks_study.sharing import SharedData
from dks_study.trainer import EpochReport

_RUN_CELL, _FIT = tuning._run_cell, trial.fit  # type: ignore[attr-defined]
SPANS = "spans.jsonl"


def timed_cell(config: dict[str, Any], data: SharedData) -> None:
    """Stand in for `tuning._run_cell`: the same, and a line for each epoch in the trial's folder."""
    path = Path(config["place"].folder) / SPANS

    def fit(*words: object, **named: object) -> Iterator[EpochReport]:
        epochs = _FIT(*words, **named)
        while True:
            started, used = time.time(), time.process_time()
            report = next(epochs, None)
            span = {"process": os.getpid(), "start": started, "end": time.time(), "cpu_s": time.process_time() - used}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(span) + "\n")
            if report is None:
                return
            yield report

    trial.fit = fit  # type: ignore[attr-defined]  # in the process of the trial
    _RUN_CELL(config, data)
