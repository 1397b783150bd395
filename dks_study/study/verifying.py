"""A claim checked: the trial is trained anew, alone, and every number of every epoch is compared."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dks_study.spec.study import StudySpec
from dks_study.spec.trial import TrialSpec
from dks_study.study.agreement import lasting
from dks_study.study.claims import Claim, ClaimError
from dks_study.study.identity import PACKAGES
from dks_study.study.ledger import read_epochs, read_outcome
from dks_study.study.machine import processor, versions
from dks_study.study.planner import trial_of
from dks_study.study.provenance import numbers_hash
from dks_study.study.stopping import Watch
from dks_study.study.trial import run_trial
from dks_study.training.compute import own_device

IN_POINTS = "top1"  # of these metrics, which are percentages, differences are told


@dataclass(frozen=True)
class Verdict:
    """What became of a trial that was trained anew.

    Attributes:
        trial: its name.
        differs: the metrics of the first epoch that is not the same, with what is claimed and what came out.
        points: the largest difference of an accuracy after the last epoch, in points.
    """

    trial: str
    differs: Mapping[str, tuple[float | None, float | None]]
    points: float

    def agrees(self, within: float | None) -> bool:
        """Is it the same to the last bit, or, with `within`, are accuracies no more than so many points apart?"""
        return not self.differs if within is None else self.points <= within


def unlike_then(known: Mapping[str, Any]) -> list[str]:
    """Return in what code, versions and processor here are not those that provenance.json has `known` of the study.

    What a study did not write down cannot be compared.
    """
    if not known["sessions"]:
        return ["sessions: none on record"]
    last = known["sessions"][-1]
    then = {"code": last.get("numbers"), **last["packages"], "processor": last["hardware"]["cpu"]}
    here = {"code": numbers_hash(), **versions(("torch", *PACKAGES)), "processor": processor()}
    return [f"{key} {then[key]} then, {here[key]} here" for key in here if key in then and then[key] != here[key]]


def described(study: StudySpec, claim: Claim, *, same_code: bool) -> TrialSpec:
    """Return what the trial of a claim trains.

    Raises:
        ClaimError: if that is not what the claim says was trained, a group of processes trained it, or there is no GPU.
    """
    trial = trial_of(study, claim.cell)
    if same_code and trial.content_hash() != claim.trial_hash:
        rule = "must have the hash of what the study describes"
        raise ClaimError(f"trials.parquet: {claim.cell.id}: {rule}, {trial.content_hash()}, got {claim.trial_hash}")
    if trial.resources.workers > 1:
        rule = "must be at most 1 for trials that are trained anew here, in one process"
        raise ClaimError(f"resources.workers: {rule}, got {trial.resources.workers}")
    if trial.resources.gpus_per_worker and not torch.cuda.is_available():
        rule = "must be 0 where PyTorch sees no GPU"
        raise ClaimError(f"resources.gpus_per_worker: {rule}, got {trial.resources.gpus_per_worker:g}")
    return trial


def moved(trial: TrialSpec, root: str | None) -> TrialSpec:
    """Return `trial` with its images in `root`, if that is given."""
    if root is None:
        return trial
    return trial.model_copy(update={"data": trial.data.model_copy(update={"root": root})})


def train_anew(claim: Claim, trial: TrialSpec, folder: Path) -> Verdict:
    """Train `trial` in the empty `folder` and compare it with `claim`."""
    costs = any(name.startswith("cost/") for name in claim.metrics)
    run_trial(trial, folder, own_device(trial.resources), lambda _: None, Watch(None, costs=costs))
    outcome, epochs = read_outcome(folder), [lasting(epoch) for epoch in read_epochs(folder)]
    metrics = lasting(outcome.metrics) if outcome else {}
    return compared(claim, replace(claim, metrics=metrics, epochs=tuple(epochs)))


def compared(claimed: Claim, found: Claim) -> Verdict:
    """Return in what two trials of one name differ: epoch by epoch where both have them, else after the last one."""
    pairs = [*zip(claimed.epochs, found.epochs, strict=False), (claimed.metrics, found.metrics)]
    differs = next((apart for one, other in pairs if (apart := _apart(one, other))), {})
    names = [name for name in claimed.metrics if IN_POINTS in name]
    points = max(
        (abs(claimed.metrics[name] - found.metrics.get(name, float("inf"))) for name in names), default=float("inf")
    )
    return Verdict(claimed.cell.name, differs, points)


def _apart(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, tuple[float | None, float | None]]:
    names = (one.keys() | other.keys()) - {"epoch"}
    return {name: (one.get(name), other.get(name)) for name in sorted(names) if one.get(name) != other.get(name)}
