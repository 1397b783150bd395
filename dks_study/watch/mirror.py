"""The search as Optuna studies in a storage of Optuna's own, for people and optuna-dashboard: one study per arm.

It is written as trials start, report and end, and never read for a decision: the ledger is the truth. What is missing
or wrong in it is put right from the ledger whenever a study goes on.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from dks_study.spec.base import Problem
from dks_study.spec.space import arm_space
from dks_study.spec.study import StudySpec
from dks_study.study.cell import Cell
from dks_study.study.history import directions, frozen
from dks_study.study.ledger import Outcome, Record
from dks_study.watch.journal import Journal
from dks_study.watch.urls import error_line, without_password

JOURNAL = "optuna.journal"
_ID = "trial"  # the user attribute that holds our id of a trial
_STATES = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "out_of_memory": TrialState.FAIL,
    "timed_out": TrialState.FAIL,
    "failed": TrialState.FAIL,
}


class MirrorError(Problem, RuntimeError):
    """Optuna's storage cannot be used; the message is one line and holds no password."""


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """Return the storage at the database `url`, or the journal file in a study's `folder`.

    A journal that cannot be read is begun anew.

    Raises:
        MirrorError: if the database cannot be reached, or the file cannot be written.
    """
    if url is None:
        path = folder / JOURNAL
        try:
            return _journal(path)
        except OSError as error:
            raise MirrorError(f"{path}: cannot be written: {error.strerror}") from error
        except Exception:
            # Whatever a damaged line makes of Optuna: nothing but the mirror is lost.
            path.unlink()
            return _journal(path)
    if "://" not in url:
        raise MirrorError(f"--optuna-storage: must be a database's URL such as postgresql://host/name, got {url!r}")
    try:
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except Exception as error:  # each driver has errors of its own
        hint = " (pip install psycopg2-binary, and write postgresql+psycopg2://)" if _lacks_driver(error, url) else ""
        raise MirrorError(f"--optuna-storage {without_password(url)}: {error_line(error, url)}{hint}") from error


def _lacks_driver(error: Exception, url: str) -> bool:
    return isinstance(error.__cause__ or error, ImportError) and url.startswith("postgresql")


def _journal(path: Path) -> BaseStorage:
    path.touch()
    content = path.read_bytes()
    if not content.endswith(b"\n"):  # cut in half by a crash: what is appended next would spoil it for good
        os.truncate(path, content.rfind(b"\n") + 1)
    return Journal(path)


class Mirror:
    """Writes what happens to search trials; a storage that fails is left alone from then on."""

    def __init__(self, study: StudySpec, folder: Path, url: str | None, warn: Callable[[str], None]) -> None:
        """Mirror the study in `folder`; `warn` is told once if that fails later on.

        Raises:
            MirrorError: as `open_storage`.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study, self._url, self._warn = study, url or "", warn
        self._storage: BaseStorage | None = open_storage(url, folder)
        # As wide as they may become: Optuna refuses a trial outside of its ranges.
        spaces = {arm: arm_space(study, arm) for arm in study.arms}
        self._spaces = {arm: space.widened([*space.axes]) for arm, space in spaces.items() if space.axes}
        self._names = {arm: f"{folder.resolve().name}/{arm}" for arm in self._spaces}
        self._ids: dict[str, int] = {}  # Optuna's id of a trial, by ours

    def restore(self, records: Iterable[Record]) -> None:
        """Make the storage say what the ledger says."""
        known = {record.cell.id: record for record in records if record.cell.phase == "search"}
        with self.together(), self._guarded() as storage:
            if storage is None:
                return
            for arm in self._spaces:
                mine = {name: record for name, record in known.items() if record.cell.arm == arm}
                trials = self._mirrored(storage, arm)
                if not all(self._agrees(trial, mine) for trial in trials):
                    optuna.delete_study(study_name=self._names[arm], storage=storage)
                    trials = self._mirrored(storage, arm)
                self._ids |= {trial.user_attrs[_ID]: self._id(storage, arm, trial.number) for trial in trials}
                ended = {trial.user_attrs[_ID] for trial in trials if trial.state.is_finished()}
                for name, record in sorted(mine.items(), key=lambda item: (item[1].cell.index, item[1].cell.repeat)):
                    if name not in ended:
                        self._put(storage, record.cell, record.outcome)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what happens in the block at its end: the journal waits for the disk once, not for every trial."""
        journal = self._storage if isinstance(self._storage, Journal) else None
        with self._guarded():
            if journal:
                journal.file.hold()
        try:
            yield
        finally:
            with self._guarded():
                if journal:
                    journal.file.write()

    def started(self, cell: Cell) -> None:
        """A trial begins, or goes on."""
        with self._guarded() as storage:
            if storage and cell.phase == "search":
                self._add(storage, cell)

    def epoch(self, cell: Cell, metrics: Mapping[str, float]) -> None:
        """A trial reports; Optuna takes values of epochs where there is one objective alone."""
        objective, *more = self._study.search.objectives
        with self._guarded() as storage:
            if storage and cell.phase == "search" and not more and objective in metrics:
                storage.set_trial_intermediate_value(self._ids[cell.id], int(metrics["epoch"]), metrics[objective])

    def settled(self, cell: Cell, outcome: Outcome) -> None:
        """A trial has ended."""
        with self._guarded() as storage:
            if storage and cell.phase == "search":
                self._put(storage, cell, outcome)

    @contextmanager
    def _guarded(self) -> Iterator[BaseStorage | None]:
        """Give out the storage while it works; a mirror must never take a study with it."""
        try:
            yield self._storage
        except Exception as error:
            self._storage = None
            again = "it is put right when this study is started again"
            self._warn(f"Note: Optuna's storage cannot be written ({error_line(error, self._url)}): {again}.")

    def _mirrored(self, storage: BaseStorage, arm: str) -> Sequence[FrozenTrial]:
        study = optuna.create_study(
            storage=storage, study_name=self._names[arm], directions=directions(self._study), load_if_exists=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(self._study.search.objectives))
        return study.get_trials(deepcopy=False)

    def _agrees(self, trial: FrozenTrial, mine: dict[str, Record]) -> bool:
        record = mine.get(trial.user_attrs.get(_ID, ""))
        if record is None:
            return trial.state is TrialState.RUNNING and _ID in trial.user_attrs
        params = {key: value for key, value in record.cell.setting.items() if key in self._spaces[record.cell.arm].axes}
        state = _STATES[record.outcome.status] if trial.state.is_finished() else TrialState.RUNNING
        return trial.params == params and trial.state is state

    def _add(self, storage: BaseStorage, cell: Cell, outcome: Outcome | None = None) -> None:
        """Add a trial that runs, or has ended: in one write, which is what takes long."""
        if cell.id not in self._ids:
            attrs = {_ID: cell.id, "seed": str(cell.seed), "repeat": str(cell.repeat)}
            state, steps, values = TrialState.RUNNING, list[float](), None
            if outcome:
                state, steps, values = _STATES[outcome.status], self._steps(outcome), self._values(outcome)
                attrs |= {"error": outcome.error} if outcome.error else {}
            trial = frozen(self._spaces[cell.arm], cell.setting, state, values, steps, user_attrs=attrs)
            study_id = storage.get_study_id_from_name(self._names[cell.arm])
            self._ids[cell.id] = storage.create_new_trial(study_id, template_trial=trial)

    def _put(self, storage: BaseStorage, cell: Cell, outcome: Outcome) -> None:
        """Let a trial have ended, whether it is there by now or not."""
        self._add(storage, cell, outcome)
        trial_id = self._ids[cell.id]
        if storage.get_trial(trial_id).state.is_finished():
            return
        for epoch, value in enumerate(self._steps(outcome), start=1):
            storage.set_trial_intermediate_value(trial_id, epoch, value)
        if outcome.error:
            storage.set_trial_user_attr(trial_id, "error", outcome.error)
        storage.set_trial_state_values(trial_id, _STATES[outcome.status], self._values(outcome))

    def _steps(self, outcome: Outcome) -> list[float]:
        return outcome.steps if len(self._study.search.objectives) == 1 else []

    def _values(self, outcome: Outcome) -> list[float] | None:
        if outcome.status == "complete":
            return [outcome.metrics[name] for name in self._study.search.objectives]
        return outcome.steps[-1:] if outcome.status == "stopped" else None

    def _id(self, storage: BaseStorage, arm: str, number: int) -> int:
        study_id = storage.get_study_id_from_name(self._names[arm])
        return storage.get_trial_id_from_study_id_trial_number(study_id, number)
