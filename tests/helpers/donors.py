"""A study with one finished trial, from which others take it."""

from dataclasses import replace

import torch
from studies import small_study

from dks_study.spec.study import arm_trial
from dks_study.study.adoption import Adoption
from dks_study.study.cell import Cell
from dks_study.study.donors import donors_in
from dks_study.study.identity import environment, identity, read_origin
from dks_study.study.ledger import Ledger, Record, read_outcome
from dks_study.study.trial import run_trial

CPU = torch.device("cpu")
STUDY = small_study(trials=0, epochs=3)
TRIAL = arm_trial(STUDY, "dense", {}, epochs=3, phase="confirm", seed=1)
CELL = Cell("dense", "confirm", 1, 1, 3, {})
DATA = "fingerprint"


def train_donor(folder):
    """Really train the trial in a study's folder."""
    place = folder / "trials" / CELL.id
    run_trial(TRIAL, place, CPU, lambda metrics: None, keep_predictions="main")
    name = identity(TRIAL, DATA, read_origin(place).origin)
    seen = replace(read_outcome(place), seconds=1.5)  # which the driver adds
    record = Record(CELL, seen, TRIAL.content_hash(), "2026-01-01", DATA, name)
    Ledger(folder / "ledger.jsonl").append(record)
    return folder


def adoption(files, *studies, data=DATA, there=None, checkpoints=False, predictions=True, notes=None):
    donors = donors_in(studies, files.folder, (notes if notes is not None else []).append)
    kept = {"checkpoints": checkpoints, "predictions": predictions}
    return Adoption(STUDY, files, donors, (), data, there or environment(CPU), **kept)
