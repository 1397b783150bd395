"""The same study, run on several machines by seeds, as one: what each has trained is copied, and nothing is trained.

The merged study's own planner asks for its trials, so that they are those of a study that trained them all. It is built
in a folder of its own, which takes its name when all is in it: a merge that is killed leaves no study, and the same
command begins it anew. The studies that are merged are only read.
"""

import fcntl
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from dks_study.spec.files import changed_study
from dks_study.spec.study import StudySpec
from dks_study.study.adoption import UnfitError, checked, content_of, link
from dks_study.study.began_with import CONTENTS
from dks_study.study.cell import Cell
from dks_study.study.donors import adopted_from
from dks_study.study.failures import is_disk_full
from dks_study.study.holder import LOCK, lock_text
from dks_study.study.identity import ORIGIN, Kept, read_origin, write_origin
from dks_study.study.keeping import Checkpoints
from dks_study.study.ledger import Ledger, Record
from dks_study.study.mixing import MergeError, Side
from dks_study.study.planned import planned_trials
from dks_study.study.planner import Planner, trial_of
from dks_study.study.predictions import FILE as PREDICTIONS
from dks_study.study.provenance import write_provenance
from dks_study.study.sealing import plan_of
from dks_study.study.search import optuna_suggest
from dks_study.study.storage import CHECKPOINTS, Files
from dks_study.study.trial import in_parts

_BUILDING = ".merging"  # a study is looked for in the folders of a results folder, and not in theirs


@dataclass
class Merged:
    """What has come together.

    Attributes:
        left: to be trained; what depends on it is not known by now.
        unfit: why a finished trial was not taken, with its folder.
    """

    records: list[Record] = field(default_factory=list)
    left: list[Cell] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)


def united(sides: Sequence[Side]) -> StudySpec:
    """Return the study with the report seeds of all: those of the first, then what the next ones have besides.

    Raises:
        SpecError: if these cannot be the report seeds of one study.
    """
    seeds = list(dict.fromkeys(seed for side in sides for seed in side.study.report_seeds))
    first = sides[0].study
    return first if seeds == list(first.report_seeds) else changed_study(first, [f"report_seeds={seeds}"])


def merge(study: StudySpec, sides: Sequence[Side], folder: Path) -> Merged:
    """Write into `folder` what there is of `study`: trials, ledger and provenance.

    Raises:
        OSError: if the disk is full, or the folder cannot be written.
        MergeError: if there is no trial to take.
    """
    donors = defaultdict[str, list[tuple[Side, Record]]](list)
    for side in sides:
        for record in side.records:
            donors[record.cell.id].append((side, record))
    ledger, files, merged = Ledger(folder / "ledger.jsonl"), Files(folder, None), Merged()
    planner, checkpoints = Planner(study, optuna_suggest(study)), Checkpoints(study, files, {}, None)
    with ledger.together():
        ledger.seal(plan_of(study))
        while isinstance(cell := planner.next(), Cell):
            taken = _taken(study, cell, donors[cell.id], files.trial(cell.id), merged.unfit)
            if taken is None:
                merged.left.append(cell)  # it counts as running, so that the planner goes on to others
                continue
            ledger.append(taken)
            checkpoints.settled(taken)
            planner.settle(cell.id, taken.outcome)
    merged.records += ledger.records
    if not merged.records:
        raise MergeError(f"merge: there must be a finished trial in one of {', '.join(side.name for side in sides)}")
    _write_origins(study, sides, folder, merged.records)
    return merged


def unused(sides: Sequence[Side], merged: Merged) -> list[str]:
    """Return the finished trials that have no place in the merged study, by their names."""
    taken = {record.cell.id for record in merged.records} | {cell.id for cell in merged.left}
    return [f"{side.name}/{record.cell.id}" for side in sides for record in side.records if record.cell.id not in taken]


def in_words(study: StudySpec, merged: Merged) -> str:
    """Return how many trials each study has given."""
    names = adopted_from(merged.records)
    given = ", ".join(f"{count} from {name}" for name, count in names.items())
    return f"{len(merged.records)} of {planned_trials(study)} trials merged: {given}."


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """Give out a folder that becomes `target` if all goes well; what a merge that was killed has left in it goes.

    Raises:
        MergeError: if `target` is there already, another process builds it, or the disk does not let it be built.
    """
    scratch = target.parent / _BUILDING / target.name
    new = [path for path in scratch.parents if not path.exists()]
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with (scratch / LOCK).open("a+") as lock:
            _hold(lock.fileno(), scratch)
            lock.truncate(0)
            lock.write(lock_text())
            lock.flush()
            if target.exists():
                raise MergeError(f"merge: {target}: must not be there, as it would be written anew")
            try:
                yield scratch
                os.sync()  # should power fail, what is there under its name is whole
                scratch.rename(target)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
    except OSError as error:
        raise MergeError(f"merge: {error.filename or target}: {error.strerror}") from error
    finally:
        for path in (scratch.parent, *new):
            with suppress(OSError):  # it holds something
                path.rmdir()


def _hold(lock: int, scratch: Path) -> None:
    """Take the lock of a folder that is built, and empty it of all else."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MergeError(f"merge: {scratch}: another process merges these studies") from None
    for path in scratch.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _taken(
    study: StudySpec, cell: Cell, donors: Sequence[tuple[Side, Record]], target: Path, unfit: list[str]
) -> Record | None:
    """Copy the trial of `cell` from the first study that has it whole; return its line for the ledger."""
    for side, record in donors:
        place = side.folder / "trials" / record.cell.id
        try:
            _copy(place, target)
            trial = trial_of(study, cell)
            if record.outcome.accumulate:
                trial = in_parts(trial, record.outcome.accumulate)
            if (record.cell.setting, record.trial_hash) != (cell.setting, trial.content_hash()):
                raise UnfitError("it trained something else than this study asks for")
            if not record.outcome.lost:
                checked(content_of(target), record, trial)
        except (UnfitError, OSError) as error:
            shutil.rmtree(target, ignore_errors=True)
            if is_disk_full(error):
                raise
            unfit.append(f"{place}: {error}")
            continue
        trained_by = record.adopted_from or side.name
        # The seeds that the others have are no other plan; what that study itself had seen before is.
        plan = None if record.plan == plan_of(side.study) else record.plan
        if (target / ORIGIN).exists():
            write_origin(target, Kept(read_origin(target).origin, trained_by, plan))
        return replace(record, cell=cell, adopted_from=trained_by, plan=plan)
    return None


def _copy(place: Path, target: Path) -> None:
    """Copy a trial's files, its large ones as hard links; one that was lost early may have left none."""
    target.mkdir(parents=True)
    names = sorted(path.name for path in place.iterdir() if path.is_file()) if place.exists() else []
    for name in names:
        if name in (*CHECKPOINTS, PREDICTIONS):
            link(str(place / name), str(target / name))
        elif name != LOCK:
            shutil.copyfile(place / name, target / name)


def _write_origins(study: StudySpec, sides: Sequence[Side], folder: Path, records: Sequence[Record]) -> None:
    """Write provenance.json with the sessions of all studies, and what data they had."""
    sessions = {json.dumps(session): session for side in sides for session in side.recorded["sessions"]}
    in_order = sorted(sessions.values(), key=lambda session: str(session["started"]))
    contents = [path for side in sides if (path := side.folder / CONTENTS).is_file()]
    if contents:
        shutil.copyfile(contents[0], folder / CONTENTS)
    data, weights = (sides[0].recorded.get(key) for key in ("data", "weights"))  # those of the others are the same
    write_provenance(folder, study, in_order, None, data, adopted_from(records), weights)
