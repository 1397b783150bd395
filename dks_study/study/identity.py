"""The identity of a trial: two trials with the same one have the same numbers, whatever study they belong to.

It is a hash of
    the TrialSpec    every key of it, resolved. Some cannot change a number (a folder's name, part of a GPU): they are
                     in it all the same, as to train again is cheap beside a wrong number
    the data         their fingerprint
    the origin       what made the numbers from these: the code that runs between description and outcome, the user's
                     own modules and weights that the description names, versions, processor and device, settings

An arm's name, the study's name, title and question, the engine, the display and the analysis are not in it. Neither is
what nobody can see: files that own code opens, and what it imports from installed packages.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from dks_study.method.pretrained import weights_path
from dks_study.spec.shipped import found
from dks_study.spec.trial import TrialSpec
from dks_study.study.ledger import write_whole
from dks_study.study.machine import instructions, processor, settings, versions
from dks_study.study.sealing import Plan
from dks_study.study.sources import DIGITS, TRIALS, UnknownSourceError, code_of
from dks_study.training.team import Team

ORIGIN = "origin.json"
PACKAGES = ("torchvision", "numpy", "pillow", "scikit-learn", "timm")
_CALLABLE = re.compile(r'"([A-Za-z_]\w*(?:\.\w+)*):[A-Za-z_][\w.]*"')  # a value in JSON
_VERSIONED = ("torchvision", "timm")  # networks of theirs: their versions say what they are

Origin = Mapping[str, str]  # what made numbers, by names that people read


@dataclass(frozen=True)
class Kept:
    """What a trial's folder says of where its numbers come from.

    Attributes:
        origin: None if it is not known, or not one: a trial that went on elsewhere.
        adopted_from: the study that trained it, if that is another one.
        plan: of an adopted confirmation: under which its result was first seen, if that is not the study's own.
    """

    origin: Origin | None = None
    adopted_from: str | None = None
    plan: Plan | None = None


def identity(trial: TrialSpec, data: str, origin: Origin) -> str:
    """Return 20 hex digits; `data` is the fingerprint of the data set."""
    whole = {"trial": trial.hashed(), "data": data, "origin": dict(origin)}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:DIGITS]


def origin_of(trial: TrialSpec, environment: Mapping[str, str]) -> Origin | None:
    """Return what makes the numbers of `trial` in `environment`; None: nobody can say."""
    if trial.compute.compile:
        return None  # by a compiler of the machine's, of which PyTorch keeps no record
    try:
        own = {f"code of {module}": code_of((module,)) for module in own_modules(trial)}
        weights = trial.teacher.weights if trial.teacher else None
        teacher = {"teacher.weights": file_hash(found(weights))} if weights else {}
        pretrained = {f"{key}.weights": file_hash(weights_path(each)) for key, each in trial.pretrained.items()}
        return {**environment, "code of dks_study": code_of(TRIALS), **own, **teacher, **pretrained}
    except (UnknownSourceError, OSError, ValueError):
        return None


def own_modules(trial: TrialSpec) -> list[str]:
    """Return the modules of `package.module:callable` values anywhere in `trial`."""
    return sorted(set(_CALLABLE.findall(trial.model_dump_json())) - set(_VERSIONED))


@cache
def environment(device: torch.device) -> Mapping[str, str]:
    """Return what this process computes with: versions, processor and device, settings."""
    found = {**versions(PACKAGES), **settings(), "processor": processor(), "instructions": instructions()}
    found["torch"] = str(torch.__version__)  # with its build, such as +cpu; a version compares slowly
    found["kernels"] = torch.backends.cpu.get_cpu_capability()
    found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    if device.type == "cuda":
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
    return found


def keep_origin(folder: Path, trial: TrialSpec, team: Team, *, anew: bool) -> None:
    """Write down where the numbers come from that `team` is about to make, `anew` or going on after some epochs.

    A trial that went on with another origin than it began with has none, nor has one whose workers are not alike.
    """
    origin = origin_of(trial, environment(team.device))
    if not _is_one(team, origin):
        origin = None
    before = read_origin(folder)
    if team.rank == 0 and (anew or before.origin != origin):
        write_origin(folder, Kept(origin if anew else None))


def write_origin(folder: Path, kept: Kept) -> None:
    """Write the origin of the trial in `folder`."""
    write_whole(folder / ORIGIN, origin_text(kept))


def origin_text(kept: Kept) -> str:
    """Return what a trial's origin file holds."""
    origin = None if kept.origin is None else dict(kept.origin)
    plan = {"plan": kept.plan.fields} if kept.plan else {}
    return json.dumps({"origin": origin, "adopted_from": kept.adopted_from, **plan})


def read_origin(folder: Path) -> Kept:
    """Return what the trial in `folder` says of its origin."""
    try:
        return origin_in((folder / ORIGIN).read_bytes())
    except OSError:
        return Kept()


def origin_in(content: bytes) -> Kept:
    """Return what a trial's origin file says."""
    try:
        fields = json.loads(content)
        plan = Plan.read(fields["plan"]) if "plan" in fields else None
        return Kept(**{**fields, "plan": plan})
    except (ValueError, TypeError, KeyError):
        return Kept()


def _is_one(team: Team, origin: Origin | None) -> bool:
    """Have all processes of a team the same origin?"""
    if team.size == 1:
        return True
    digest = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
    number = int(digest[:15], 16)
    ends = torch.tensor([number, -number], device=team.device)
    torch.distributed.all_reduce(ends, torch.distributed.ReduceOp.MAX)
    return bool(ends[0] == -ends[1])


def file_hash(path: Path) -> str:
    """Return 20 hex digits that depend on the content of a file, as it is now."""
    stat = path.stat()
    return _hash_of(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@cache
def _hash_of(path: Path, *_as_it_is: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
