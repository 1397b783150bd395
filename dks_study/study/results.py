"""A study's results as tidy frames: one row per trial, one row per epoch. Reads files alone; no torch, no ray."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from pyarrow import ArrowException

from dks_study.spec.base import Problem
from dks_study.spec.reaching import reached
from dks_study.spec.study import StudySpec
from dks_study.study.bundles import opened
from dks_study.study.ledger import Record, read_epochs, read_ledger, read_seal
from dks_study.study.predictions import Predictions, predictions_in
from dks_study.study.provenance import PROVENANCE, ProvenanceError, read_provenance, study_in
from dks_study.study.sealing import Plan, changes


class ResultsError(Problem, ValueError):
    """A folder does not hold the results of a study; the message says what is missing."""


@dataclass(frozen=True)
class Results:
    """The study as it was run, its settled trials, every epoch of them, and predictions where they were kept."""

    study: StudySpec
    # arm, row (of a table), phase, repeat, choice, seed, index, epochs, status, error, accumulate, setting/KEY, and the
    # last epoch's metrics; a confirmation that counts for two rows is there twice
    trials: pd.DataFrame
    epochs: pd.DataFrame  # trial, arm, phase, seed, epoch, and metrics
    # of a trial, by its name, or None; those of a folder are read when they are asked for, those of a bundle with it
    predictions: Callable[[str], Predictions | None] = lambda _: None


def load_results(path: Path) -> Results:
    """Return the results in the folder, or in the bundle, `path`.

    Raises:
        ResultsError: if the folder has no provenance.json, trials.parquet or epochs.parquet, or one is damaged.
        BundleError: if it is a file and no bundle, or a damaged one.
    """
    with opened(path) as folder:
        found = _results_in(folder)
        return found if folder == path else replace(found, predictions=_all_predictions(found).get)


def _results_in(folder: Path) -> Results:
    for name in ("provenance.json", "trials.parquet", "epochs.parquet"):
        if not (folder / name).is_file():
            raise ResultsError(f"{folder}: not the results of a study: {name} is missing")
    trials, epochs = (_read(folder / name) for name in ("trials.parquet", "epochs.parquet"))
    return Results(load_study_of(folder), trials, epochs, predictions_in(folder))


def _all_predictions(results: Results) -> dict[str, Predictions | None]:
    trials = map(str, results.trials["trial"]) if len(results.trials) else ()
    return {trial: results.predictions(trial) for trial in trials}


def load_study_of(folder: Path) -> StudySpec:
    """Return the description of the study in `folder`, finished or not.

    Raises:
        ResultsError: if the folder has no provenance.json, or it is damaged.
        SpecError: if nobody may look there.
    """
    if not (reached(folder) / PROVENANCE).is_file():
        raise ResultsError(f"{folder}: not the results of a study: {PROVENANCE} is missing")
    try:
        return study_in(read_provenance(folder), folder)
    except ProvenanceError as error:
        raise ResultsError(str(error)) from error


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (ArrowException, OSError) as error:
        raise ResultsError(f"{path}: is damaged: run the study's command again, which writes it anew") from error


def write_results(folder: Path) -> list[str]:
    """Write trials.parquet and epochs.parquet from the ledger and the trials' own files; either whole or not at all.

    Returns the trials that completed but whose epochs.jsonl lacks epochs: damaged since.
    """
    path = folder / "ledger.jsonl"
    records, plan = sorted(read_ledger(path), key=_order), read_seal(path)
    frames = {
        "trials": pd.DataFrame([row for record in records for row in _trial_rows(record, plan)]),
        "epochs": pd.DataFrame([row for record in records for row in _epoch_rows(record, folder)]),
    }
    for name, frame in frames.items():
        temporary = folder / f"{name}.parquet.tmp"
        frame.to_parquet(temporary, index=False)
        temporary.replace(folder / f"{name}.parquet")
    complete = [record.cell for record in records if record.outcome.status == "complete"]
    return [cell.id for cell in complete if len(list(read_epochs(folder / "trials" / cell.id))) < cell.epochs]


def _order(record: Record) -> tuple[str, str, int, bool, str, int, int]:
    cell = record.cell
    return (
        cell.phase,
        cell.arm,
        cell.member,
        cell.choice == "tuned",
        cell.back,
        cell.repeat if cell.phase != "confirm" else 0,
        cell.index,
    )


def _trial_rows(record: Record, plan: Plan | None) -> Iterator[dict[str, object]]:
    """Yield a row for each row of a table that a confirmation counts for, and one for any other trial."""
    if record.cell.phase != "confirm":
        yield _trial_row(record, record.cell.arm, None)
        return
    other = changes(record.plan, plan) if record.plan and plan else ""
    for choice, row in record.cell.rows.items():
        yield _trial_row(record, row, choice) | ({"plan_changed": other} if other else {})


def _trial_row(record: Record, row: str, choice: str | None) -> dict[str, object]:
    cell, outcome = record.cell, record.outcome
    return {
        "trial": cell.id,
        "arm": cell.arm,
        "row": row,
        "phase": "back" if choice == "back" else cell.phase,
        "repeat": cell.repeat,
        "choice": choice,
        "index": cell.index,
        "seed": cell.seed,
        "epochs": cell.epochs,
        "status": outcome.status,
        "error": outcome.error,
        "accumulate": outcome.accumulate,
        "trial_hash": record.trial_hash,
        "ended": record.ended,
        "adopted_from": record.adopted_from,
        "tries": record.tries,
        **{f"setting/{key}": value for key, value in cell.setting.items()},
        **{key: value for key, value in outcome.metrics.items() if key != "epoch"},
    }


def _epoch_rows(record: Record, folder: Path) -> list[dict[str, object]]:
    cell = record.cell
    known = {"trial": cell.id, "arm": cell.arm, "phase": cell.phase, "seed": cell.seed}
    rows = read_epochs(folder / "trials" / cell.id)
    return [{**known, **metrics, "epoch": int(metrics["epoch"])} for metrics in rows]
