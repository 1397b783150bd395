"""Where numbers come from: the resolved spec, code revision, packages and machine of every session of a study."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from dks_study.spec.base import Problem
from dks_study.spec.study import UNHASHED, StudySpec
from dks_study.spec.telling import auto_recipes_by_arm
from dks_study.spec.wording import shown, values_problem
from dks_study.study.ledger import write_whole
from dks_study.study.machine import processor, versions
from dks_study.study.sources import PLANS, TRIALS, code_of

PROVENANCE = "provenance.json"
_SHOWN_KEYS = 3
PACKAGES = ("dks_study", "ray", "torch", "torchvision", "optuna", "numpy", "pandas", "scikit-learn")


class ProvenanceError(Problem, ValueError):
    """provenance.json cannot be trusted; the message is one line."""


@dataclass(frozen=True)
class Session:
    """One run of the command: when, with which code, on what."""

    started: str  # ISO 8601, UTC
    ended: str | None
    git_revision: str | None
    git_dirty: bool | None
    code: str  # hash of the package's own files
    numbers: str  # hash of those that can change a number, or which trials there are
    packages: dict[str, str]
    hardware: dict[str, str | int | float]
    energy_j: dict[str, float] = field(default_factory=dict)  # by cpu and gpu; {}: not measured


@cache
def code_hash() -> str:
    """Return 10 hex digits that depend on every Python file of the package, as it is when first asked.

    The analysis is left out: it reads results and makes none.
    """
    digest, here = hashlib.sha256(), Path(__file__).resolve().parents[1]
    for path in sorted(path for path in here.rglob("*.py") if "analysis" not in path.relative_to(here).parts):
        digest.update(path.relative_to(here).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:10]


def numbers_hash() -> str:
    """Return 20 hex digits that depend on the files that can change a trial's numbers, or which trials a study runs."""
    return code_of((*TRIALS, *PLANS))


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_session(gpus: int) -> Session:
    """Describe this session; environment variables, host and user names are left out on purpose."""
    revision, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return Session(
        now(),
        None,
        revision,
        bool(status) if revision else None,
        code_hash(),
        numbers_hash(),
        versions(PACKAGES),
        hardware(gpus),
    )


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """Return the sessions that are on record in a results folder.

    Raises:
        ProvenanceError: if the file is damaged.
    """
    return list(recorded_of(folder)["sessions"])


def recorded_of(folder: Path) -> dict[str, Any]:
    """Return what provenance.json of a results folder holds; no sessions if there is no file.

    Raises:
        ProvenanceError: if the file is damaged.
    """
    return read_provenance(folder) if (folder / PROVENANCE).exists() else {"sessions": []}


def read_provenance(folder: Path) -> dict[str, Any]:
    """Return what provenance.json of a results folder holds.

    Raises:
        ProvenanceError: if the file is damaged, or cannot be read.
    """
    path = folder / PROVENANCE
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _known = content["study"], content["sessions"]
    except OSError as error:
        raise ProvenanceError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        advice = "put a copy back; or delete it, if the code has not changed since the study began"
        raise ProvenanceError(f"{path}: is damaged: {advice}") from error
    return content


def study_in(provenance: Mapping[str, Any], folder: Path) -> StudySpec:
    """Return the description in what provenance.json of `folder` holds.

    Raises:
        ProvenanceError: if it is none.
    """
    where, study = f"{folder}: provenance.json is not that of a study", provenance["study"]
    if not isinstance(study, dict):
        raise ProvenanceError(f"{where}: study: must be a section of keys, got {shown(study)}")
    try:
        return StudySpec.model_validate_json(json.dumps(study))
    except ValidationError as error:
        raise ProvenanceError(values_problem(error.errors(), StudySpec, where)) from error


def write_provenance(
    folder: Path,
    study: StudySpec,
    earlier: list[dict[str, Any]],
    session: Session | None,
    data: Mapping[str, str | int] | None = None,
    adopted: Mapping[str, int] | None = None,
    weights: Mapping[str, str] | None = None,
) -> None:
    """Write provenance.json: the resolved spec, data and weights it runs on, what was adopted, and all sessions.

    Without `session` nothing was run: what there is comes from the sessions before.
    """
    content = {
        # As written, so that it can be loaded again: defaults of one backbone family would not fit another.
        "study": study.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "resolved": study.model_dump(mode="json", by_alias=True),
        "recipe_auto": auto_recipes_by_arm(study),
        "computed_in": str(study.trial.computation),
        "study_hash": study.content_hash(),
        **({"data": data} if data else {}),
        **({"weights": weights} if weights else {}),
        **({"adopted": adopted} if adopted else {}),
        "sessions": [*earlier, *([asdict(session)] if session else [])],
    }
    write_whole(folder / PROVENANCE, json.dumps(content, indent=1) + "\n")


def ended(session: Session, energy_j: Mapping[str, float] | None = None) -> Session:
    """Return the session with its end set to now, and what energy the machine took if that was measured."""
    return replace(session, ended=now(), energy_j=dict(energy_j or {}))


def changed(earlier: list[dict[str, Any]], session: Session) -> str:
    """Return in words which packages and machines this session does not share with the one before; "" if none."""
    if not earlier:
        return ""
    before = {**earlier[-1]["packages"], "processor": earlier[-1]["hardware"]["cpu"]}
    now_ = {**session.packages, "processor": session.hardware["cpu"]}
    return ", ".join(f"{key} ({before.get(key)} -> {now_[key]})" for key in now_ if before.get(key) != now_[key])


def other_results(study: StudySpec, folder: Path) -> str | None:
    """Return a note on the results beside `folder` whose description is nearest to `study`; None if there are none."""
    mine = flat(study.counting())
    others = {}
    for path in sorted(folder.parent.glob(f"{study.name}-*/{PROVENANCE}")):
        if path.parent != folder and (theirs := _read_resolved(path)):
            keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
            others[path.parent] = [f"{key} {theirs.get(key)!r} there, {mine.get(key)!r} here" for key in keys]
    if not others:
        return None
    nearest = min(others, key=lambda other: len(others[other]))
    keys = others[nearest]
    more = [f"{len(keys) - _SHOWN_KEYS} more"] if len(keys) > _SHOWN_KEYS else []
    return (
        f"Note: {nearest} has results of this question by another description: {'; '.join(keys[:_SHOWN_KEYS] + more)}."
    )


def same_question(study: StudySpec, places: Sequence[Path]) -> list[Path]:
    """Return the studies in the folders `places` with the name, data and backbone of `study`: the newest first.

    Only those that have results; what cannot be read is passed over.
    """
    found = []
    for path in (path for place in places for path in sorted(place.glob(f"*/{PROVENANCE}"))):
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            theirs = StudySpec.model_validate_json(json.dumps(known["study"]))
            started = str(known["sessions"][-1]["started"])
        except (OSError, ValueError, LookupError, TypeError):
            continue
        same = (theirs.name, theirs.trial.data, theirs.trial.backbone)
        if same == (study.name, study.trial.data, study.trial.backbone) and (path.parent / "trials.parquet").exists():
            found.append((started, path.parent))
    return [folder for _, folder in sorted(found, reverse=True)]


def _read_resolved(path: Path) -> dict[str, object]:
    try:
        resolved = json.loads(path.read_text(encoding="utf-8"))["resolved"]
        return {key: value for key, value in flat(resolved).items() if key not in UNHASHED}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Return the values of nested sections by dotted key."""
    found: dict[str, object] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {prefix + key: value}
    return found


def _git(*words: str) -> str | None:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def hardware(gpus: int) -> dict[str, str | int | float]:
    """Describe this machine, with `gpus` GPUs."""
    memory_gib = round(psutil.virtual_memory().total / 2**30, 1)
    return {
        "cpu": processor(),
        "cpus": os.cpu_count() or 1,
        "memory_gib": memory_gib,
        "gpus": gpus,
        "system": platform.system(),
    }
