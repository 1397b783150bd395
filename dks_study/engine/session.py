"""A study from its first trial to its results, with the ledger as the only truth.

Tune starts, retries and stops trials. What to run comes from the planner, how a trial ended from the trial's own
folder, and a resume from the ledger: nothing of Tune's own state is ever read back.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dks_study.engine.adopting import adoption_for
from dks_study.engine.closing import Closing, missing
from dks_study.engine.cluster import Slots, check_nodes, grows, present, total
from dks_study.engine.energy import measured
from dks_study.engine.hands import Hands
from dks_study.engine.interrupts import AGAIN, ending_on_interrupt
from dks_study.engine.joining import ending_ray, is_lost, join
from dks_study.engine.sharing import SharedData
from dks_study.engine.tuning import PlannedSearch, tune_study
from dks_study.spec.base import LostError
from dks_study.spec.study import StudySpec
from dks_study.spec.telling import wrong_labels
from dks_study.spec.urls import shown
from dks_study.study import provenance
from dks_study.study.began_with import CONTENTS, StudyData, data_of, keep_contents, look_at_data
from dks_study.study.beside import announced
from dks_study.study.donors import adopted_from, in_words
from dks_study.study.failures import first_line, is_disk_full
from dks_study.study.holder import LOCK, lock_text
from dks_study.study.home import StorageError, home_of
from dks_study.study.keeping import Checkpoints
from dks_study.study.ledger import Ledger
from dks_study.study.likeness import why_not
from dks_study.study.planned import planned_trials
from dks_study.study.planner import Planner, Step
from dks_study.study.results import write_results
from dks_study.study.retrying import try_again
from dks_study.study.search import optuna_suggest
from dks_study.study.storage import Files
from dks_study.study.weights import look_at_weights
from dks_study.training.arm_checks import StudyError, check_arms, check_memory, prediction_sizes
from dks_study.watch.mirror import Mirror
from dks_study.watch.progress import Display


@dataclass(frozen=True)
class Ending:
    """How a session of a study ended."""

    complete: bool
    without_result: int  # trials that failed or diverged
    missing: str | None = None  # of a session that ended by the clock: what it has not trained


@dataclass(frozen=True)
class Where:
    """Where a study runs: what may differ from session to session without touching a number.

    Attributes:
        address: of a Ray cluster to join; None starts one here.
        optuna_storage: URL of the database that shows the search, instead of a journal file in the results.
        disk_gib: what checkpoints and predictions may take; None: what the disk has.
        storage: folder or URL of a bucket's folder that is kept up to date, and where trials write; None: they write
            into the results folder, which every node sees.
        reuse: folders of other studies, from which finished trials are adopted.
        retry: lost trials that get another try: their ids, or how they were lost.
        finish_at: when the session is to end, in seconds of time.time(); None: when all is done.
    """

    address: str | None = None
    optuna_storage: str | None = None
    disk_gib: float | None = None
    storage: str | None = None
    reuse: tuple[Path, ...] = ()
    retry: tuple[str, ...] = ()
    finish_at: float | None = None


@contextmanager
def running(study: StudySpec, folder: Path, display: Display, where: Where) -> Iterator[Ending]:
    """Run `study` in `folder`, which exists, going on from what the ledger there holds; `display` hears of it all.

    How it ended is given out while Ray still runs: nothing that Ray does at its end can take away what is written then.

    Raises:
        StudyError: if another process runs this study, it was begun with other code or data, a trial needs more than
            there is, Ray cannot be started or joined, or a disk is full or cannot be used.
        LostError: if Ray was lost.
        SearchError: if the constraints leave nothing to suggest.
        MirrorError: if Optuna's storage cannot be used.
        DataError: if the data cannot be loaded.
        LedgerError: if the ledger is damaged in the middle.
        ProvenanceError: if provenance.json is damaged.
        RetryError: if what `where` wants tried again cannot be.
    """
    try:
        files = _files(folder, where)
        with ending_ray() as undo, _only_one(folder), _leaving_nothing(folder), files.held(), display:
            files.restore()
            yield _run(study, files, display, where, undo)
    except Exception as error:
        if is_disk_full(error):
            raise StudyError(f"{folder}: no space left: free some, then run the same command again") from error
        if isinstance(error, OSError) and where.storage:
            raise StorageError(f"--storage {shown(where.storage)}: {first_line(error)}") from error
        if isinstance(error, OSError) and error.filename:
            own = "--results " if str(error.filename).startswith(str(folder)) else ""
            raise StudyError(f"{own}{error.filename}: {error.strerror}") from error
        raise


def publish(folder: Path, where: Where) -> None:
    """Copy the results, tables and all, to the study's home if it has one.

    Raises:
        StorageError: if that cannot be done.
    """
    try:
        _files(folder, where).save_results()
    except OSError as error:
        raise StorageError(f"--storage {shown(where.storage or '')}: {first_line(error)}") from error


def _files(folder: Path, where: Where) -> Files:
    home = home_of(where.storage, folder.name) if where.storage else None
    if home and home.url == folder.resolve().as_uri():
        raise StorageError(f"--storage: must be another folder than --results, got {shown(where.storage or '')}")
    return Files(folder, home)


def _run(study: StudySpec, files: Files, display: Display, where: Where, undo: ExitStack) -> Ending:
    folder = files.folder
    record = Ledger(folder / "ledger.jsonl", study)
    if where.retry and (again := try_again(record, files, where.retry)):
        display.note(f"Tried again: {', '.join(again)}.")
    for known in record.records:
        display.settled(known.cell, known.outcome, earlier=True)
    complete, closing = _is_complete(study, record), None
    if not complete:
        _refuse_other_code(folder, display.note)
        data = look_at_data(study, folder, display.note)
        display.note(f"Data: {data.found}")
        if wrong := wrong_labels(study):
            display.note(f"{wrong}, as trial.data.label_noise has it.")
        weights = look_at_weights(study, folder, display.note)
        sizes, predictions = check_arms(study), prediction_sizes(study)
        if where.address is None:
            check_memory(study, sizes)
        checkpoints = Checkpoints(study, files, sizes, where.disk_gib, predictions)
        for known in record.records:
            checkpoints.settled(known)  # a crash may have come before their checkpoints were deleted
    mirror = Mirror(study, folder, where.optuna_storage, display.note)  # a refused study leaves none
    mirror.restore(record.records)
    if not complete:
        if where.address is None:
            undo.enter_context(announced(folder, display.note))
        join(where.address, display.note, undo)
        slots = Slots(study.trial.resources, display.note, growing=where.address is not None and grows())
        checkpoints.check_room(slots.now())
        shared = SharedData(data_of(study), data)
        adoption = adoption_for(study, files, where.reuse, shared.fingerprint.digest, display.note)
        closing = Closing(where.finish_at, record.records) if where.finish_at is not None else None
        code = provenance.code_hash()
        hands = Hands(files, record, slots, checkpoints, mirror, display, code, shared, adoption, closing)
        _run_session(study, hands, data, weights, joined=where.address is not None)
        for trial in checkpoints.held if files.home else ():
            files.fetch(trial, without=())
    for trial in write_results(folder):
        display.note(f"Note: {folder / 'trials' / trial / 'epochs.jsonl'} is damaged: epochs.parquet lacks its epochs.")
    lost = sum(known.outcome.lost for known in record.records)
    complete = _is_complete(study, record)
    by_the_clock = closing is not None and closing.ended and not complete
    return Ending(complete, lost, missing(study, record.records) if by_the_clock else None)


def _is_complete(study: StudySpec, record: Ledger) -> bool:
    return Planner(study, optuna_suggest(study), record.records).next() is Step.DONE


def _run_session(study: StudySpec, hands: Hands, data: StudyData, weights: Mapping[str, str], *, joined: bool) -> None:
    folder = hands.files.folder
    earlier = provenance.read_sessions(folder)
    session = provenance.new_session(int(total(present(), "GPU")))
    if changed := provenance.changed(earlier, session):
        hands.display.note(f"Note: since this study began, {changed} changed, which can change numbers.")
    keep_contents(folder, data.contents)
    hands.files.save(CONTENTS)
    adopted = adopted_from(hands.record.records)
    provenance.write_provenance(folder, study, earlier, session, data.record, adopted, weights)
    hands.files.save(provenance.PROVENANCE)
    if joined:  # and not one that sees what this process sees
        check_nodes(hands.files, hands.code, hands.data.check_here)
    hands.files.clear_scratch()
    searcher = PlannedSearch(study, Planner(study, optuna_suggest(study), hands.record.records), hands)

    def end() -> None:
        searcher.stopping = True
        if hands.closing:
            hands.closing.ended = False  # it is not the clock that ends it
        hands.display.note("Ending after the epochs that are running. Ctrl-C again: now (nothing finished is lost).")

    with measured() as energy_so_far:
        try:
            with ending_on_interrupt(end, is_lost):
                if hands.adoption:
                    _adopt(study, searcher, hands)
                tune_study(study, hands.files.scratch, searcher, hands.data)
        except Exception as error:
            if is_lost():
                raise LostError(f"Ray was lost or failed: {AGAIN}") from error
            raise
        else:
            if searcher.error:
                raise searcher.error
        finally:
            adopted, session = adopted_from(hands.record.records), provenance.ended(session, energy_so_far())
            provenance.write_provenance(folder, study, earlier, session, data.record, adopted, weights)
            hands.files.save(provenance.PROVENANCE)
            hands.files.clear_scratch()


def _adopt(study: StudySpec, searcher: PlannedSearch, hands: Hands) -> None:
    """Take what can be taken, and say so."""
    trained = searcher.adopt()
    taken = in_words(hands.record.records, planned_trials(study))
    for text in (*filter(None, [taken]), *why_not(hands.adoption, trained)):
        hands.display.note(text)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the study's lock, so that two commands never write one ledger."""
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StudyError(f"{folder}: this study is being run by {file.readline().strip()}") from None
        file.truncate(0)
        file.write(lock_text())
        file.flush()
        yield


@contextmanager
def _leaving_nothing(folder: Path) -> Iterator[None]:
    """Empty a folder that was new if the study is refused before a trial has begun; the lock must be held."""
    is_new = [path.name for path in folder.iterdir()] == [LOCK]
    try:
        yield
    except (Exception, SystemExit):  # of ours, or of somebody's code that is called before a trial begins
        if is_new and not any(folder.glob("trials/*")) and not _has_records(folder):
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        raise


def _has_records(folder: Path) -> bool:
    """Has a trial ended? With --storage it has left nothing else here."""
    ledger = folder / "ledger.jsonl"
    return ledger.exists() and ledger.stat().st_size > 0


def _refuse_other_code(folder: Path, note: Callable[[str], None]) -> None:
    """Refuse to mix trials of different code in one table; `note` is told of code that changed and makes no number.

    Raises:
        StudyError: names both.
    """
    earlier = provenance.read_sessions(folder)
    before, now = earlier[-1].get("code") if earlier else None, provenance.code_hash()
    if before in (None, now):
        return
    if earlier[-1].get("numbers") == provenance.numbers_hash():
        note(f"Note: the code changed since this study began ({before}, now {now}), in nothing that makes a number.")
        return
    revision = earlier[-1].get("git_revision")
    was = f"{before} (git {revision[:10]})" if revision else before
    rule = "the code of a study must not change, as its table would mix trials of both"
    advice = "go back to it, or give another --results (--reuse takes from this one what still stands)"
    raise StudyError(f"{folder}: {rule}: begun with {was}, now {now}; {advice}")
