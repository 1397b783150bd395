"""What a study claims, trial by trial, and which of its trials a stranger trains anew: drawn by lot.

The lot follows from a hash of all claims and from a number that the checker chooses. Whoever wrote the results did
not know the number, and whoever changes a result changes the lot.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dks_study.spec.base import Problem
from dks_study.spec.search import AxisSpec
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Scalar
from dks_study.study.agreement import lasting
from dks_study.study.cell import Cell
from dks_study.study.ledger import read_ledger, read_seal
from dks_study.study.results import Results, load_results
from dks_study.study.sealing import changes, plan_of
from dks_study.study.trial_names import cell_of

SETTING = "setting/"


class ClaimError(Problem, ValueError):
    """What a study says of its trials cannot be checked; the message is one line."""


@dataclass(frozen=True)
class Claim:
    """What a study says of a trial that completed in one piece.

    Attributes:
        cell: its place in the plan.
        trial_hash: of the TrialSpec that was trained.
        metrics: of its last epoch, without what is measured anew every time.
        epochs: the same of every epoch, the first first; empty if the study no longer has them.
    """

    cell: Cell
    trial_hash: str
    metrics: Mapping[str, float]
    epochs: tuple[Mapping[str, float], ...]


def claims_in(folder: Path) -> tuple[StudySpec, tuple[Claim, ...]]:
    """Return the study in `folder` and its claims: out of trials.parquet, which its table is made of.

    Raises:
        ResultsError: if the folder does not hold results.
        LedgerError: if there is a ledger, and it is damaged.
        ClaimError: if there is a ledger that says other things, or there is nothing to check.
    """
    results = load_results(folder)
    whole = results.trials[results.trials["status"].eq("complete") & results.trials["accumulate"].isna()]
    found = tuple(_claims(results, whole.drop_duplicates("trial")))
    if not found:
        raise ClaimError(f"{folder}: must hold trials that completed in one piece, got none")
    sealed = read_seal(folder / "ledger.jsonl")
    if sealed and (other := changes(sealed, plan_of(results.study))):
        raise ClaimError(f"{folder}: provenance.json must hold the plan that ledger.jsonl sealed, got {other}")
    if text := next(_denied(folder, results.study, {claim.cell.id: claim for claim in found}), None):
        raise ClaimError(f"{folder}: trials.parquet must hold what ledger.jsonl says, got {text}")
    return results.study, found


def digest(claims: Sequence[Claim]) -> str:
    """Return 20 hex digits that depend on everything that is claimed."""
    known = [[claim.cell.id, claim.trial_hash, dict(claim.metrics), *map(dict, claim.epochs)] for claim in claims]
    return _hash(json.dumps(sorted(known, key=lambda each: str(each[0])), sort_keys=True))[:20]


def drawn(claims: Sequence[Claim], share: float, number: int) -> list[Claim]:
    """Return `share` (0 to 1) of the claims, rounded up, by the lot that belongs to `number`; in the lot's order."""
    lot = digest(claims)
    by_lot = sorted(claims, key=lambda claim: _hash(f"{lot}:{number}:{claim.cell.id}"))
    return by_lot[: math.ceil(share * len(claims) - 1e-9)]


def chance(claims: int, checked: int, altered: int) -> float:
    """Return the probability that at least one of so many `altered` claims is among those `checked`."""
    return 1 - math.comb(claims - altered, checked) / math.comb(claims, checked)


def _claims(results: Results, trials: pd.DataFrame) -> Iterator[Claim]:
    names = [name for name in map(str, trials.columns) if _is_metric(name)]
    columns = ["epoch", *filter(_is_metric, map(str, results.epochs.columns))]
    by_trial = {name: rows[columns] for name, rows in results.epochs.groupby("trial")}
    for row in _rows(trials):
        epochs = _rows(by_trial[row["trial"]].sort_values("epoch")) if row["trial"] in by_trial else []
        yield Claim(
            _cell(results.study, row),
            str(row["trial_hash"]),
            _numbers({name: row[name] for name in names}),
            tuple(_numbers(epoch) for epoch in epochs),
        )


def _is_metric(column: str) -> bool:
    return column == "chosen_epoch" or ("/" in column and not column.startswith(SETTING))


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _cell(study: StudySpec, row: Mapping[str, Any]) -> Cell:
    """Return the cell of a row of trials.parquet."""
    cell = cell_of(str(row["trial"]), int(row["seed"]), int(row["epochs"]), study.report_seeds)
    if cell is None or cell.arm not in study.arms:
        raise ClaimError(f"trials.parquet: trial must be one of the study's, got {row['trial']!r}")
    axes = study.axes_of(cell.arm)
    found = {key: row.get(f"{SETTING}{key}") for key in axes}
    setting = {key: _value(axes, key, value) for key, value in found.items() if value is not None and pd.notna(value)}
    return replace(cell, setting=setting)


def _value(axes: Mapping[str, AxisSpec], key: str, value: Scalar) -> Scalar:
    """Return a searched value as it was: a frame makes floats of integers where other trials have none."""
    axis = axes[key]
    while axis.same_as is not None:
        axis = axes[axis.same_as]
    return int(str(value).removesuffix(".0")) if axis.int_range else value


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return lasting({name: float(value) for name, value in metrics.items() if pd.notna(value)})


def _denied(folder: Path, study: StudySpec, claims: Mapping[str, Claim]) -> Iterator[str]:
    """Yield in words where a ledger that is there says something else."""
    if not (folder / "ledger.jsonl").exists():
        return
    for record in read_ledger(folder / "ledger.jsonl", study):
        claim, metrics = claims.get(record.cell.id), lasting(record.outcome.metrics)
        if claim is None:
            if record.outcome.status == "complete" and record.outcome.accumulate is None:
                yield f"no {record.cell.id}"
        elif wrong := [name for name in claim.metrics if claim.metrics[name] != metrics.get(name)]:
            yield f"{wrong[0]} {claim.metrics[wrong[0]]:g} of {record.cell.id}, which is {metrics.get(wrong[0])} there"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
