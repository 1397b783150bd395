"""The Ray Tune driver: one Tune run that a planner feeds, with the ledger as the only truth.

Tune starts, retries and stops trials. What to run comes from the planner, how a trial ended from the trial's own
folder, and a resume from the ledger: nothing of Tune's own state is ever read back.
"""

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dks_study import provenance
from dks_study.arm_checks import StudyError, check_arms
from dks_study.cluster import Slots, joined, present
from dks_study.ledger import Ledger
from dks_study.mirror import Mirror
from dks_study.planner import Planner, Step
from dks_study.progress import Display
from dks_study.results import write_results
from dks_study.search import optuna_suggest
from dks_study.study_spec import StudySpec
from dks_study.tuning import PlannedSearch, tune_study


@dataclass(frozen=True)
class Ending:
    """How a session of a study ended."""

    complete: bool
    without_result: int  # trials that failed or diverged


def run_study(
    study: StudySpec, folder: Path, display: Display, address: str | None = None, optuna_storage: str | None = None
) -> Ending:
    """Run `study` in `folder`, which exists, going on from what the ledger there holds.

    Args:
        study: what to run.
        folder: its results.
        display: told of every event.
        address: of a Ray cluster to join; None starts one here.
        optuna_storage: URL of the database that shows the search, instead of a journal file in `folder`.

    Raises:
        StudyError: if another process runs this study, or a trial needs more than the machine has.
        SearchError: if the constraints leave nothing to suggest.
        MirrorError: if Optuna's storage cannot be used.
        DataError: if the data cannot be loaded.
        LedgerError: if the ledger is damaged in the middle.
    """
    with _only_one(folder), display:
        record = Ledger(folder / "ledger.jsonl")
        for known in record.records:
            display.settled(known.cell, known.outcome, earlier=True)
        complete = _is_complete(study, record)
        if not complete:
            check_arms(study)
        mirror = Mirror(study, folder, optuna_storage, display.note)
        mirror.restore(record.records)
        if not complete:
            _run_session(study, folder, record, mirror, display, address)
        write_results(folder)
        lost = sum(known.outcome.lost for known in record.records)
        return Ending(_is_complete(study, record), without_result=lost)


def _is_complete(study: StudySpec, record: Ledger) -> bool:
    return Planner(study, optuna_suggest(study), record.records).next() is Step.DONE


def _run_session(
    study: StudySpec, folder: Path, record: Ledger, mirror: Mirror, display: Display, address: str | None
) -> None:
    with joined(address, display.note):
        slots = Slots(study.trial.resources, display.note)
        earlier = provenance.read_sessions(folder)
        session = provenance.new_session(int(present().get("GPU", 0)))
        _say_if_code_changed(earlier, session, display)
        provenance.write_provenance(folder, study, earlier, session)
        planner = Planner(study, optuna_suggest(study), record.records)
        shutil.rmtree(folder / ".tune", ignore_errors=True)  # what a killed session left
        try:
            searcher = PlannedSearch(study, folder, planner, record, slots, mirror, display)
            tune_study(study, folder, searcher)
            if searcher.error:
                raise searcher.error
        finally:
            provenance.write_provenance(folder, study, earlier, provenance.ended(session))
            shutil.rmtree(folder / ".tune", ignore_errors=True)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the study's lock, so that two commands never write one ledger."""
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StudyError(f"{folder}: this study is being run by {file.read().strip()}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


def _say_if_code_changed(earlier: list[dict[str, Any]], session: provenance.Session, display: Display) -> None:
    before = earlier[-1]["git_revision"] if earlier else session.git_revision
    if before != session.git_revision:
        display.note(f"Note: the code changed since this study began ({before} -> {session.git_revision}).")
