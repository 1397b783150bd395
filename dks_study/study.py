"""The Ray Tune driver: one Tune run that a planner feeds, with the ledger as the only truth.

Tune starts, retries and stops trials. What to run comes from the planner, how a trial ended from the trial's own
folder, and a resume from the ledger: nothing of Tune's own state is ever read back.
"""

import fcntl
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Read by Ray when it is imported. Each was measured or seen to matter; a value set by the user wins.
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own tables: the display is ours
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # each report of a group costs up to this long (default 2 s)
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # Train runs in the dashboard's REST interface
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray 2.60 warns without it that this will be the default
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a relative data.root means the same in every process
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's snapshots are never read: the ledger is the truth
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
for _name, _value in RAY_SETTINGS.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from dks_study import provenance  # noqa: E402
from dks_study.arm_checks import StudyError, check_arms  # noqa: E402
from dks_study.compute import own_device  # noqa: E402
from dks_study.ledger import Cell, Ledger, Outcome, Record, read_outcome  # noqa: E402
from dks_study.mirror import Mirror  # noqa: E402
from dks_study.planner import Planner, Step  # noqa: E402
from dks_study.progress import Display  # noqa: E402
from dks_study.results import write_results  # noqa: E402
from dks_study.search import SearchError, optuna_suggest  # noqa: E402
from dks_study.spec import ResourceSpec, TrialSpec  # noqa: E402
from dks_study.stopping import Watch  # noqa: E402
from dks_study.study_spec import StudySpec, arm_trial  # noqa: E402
from dks_study.trial import read_error, run_trial  # noqa: E402
from dks_study.worker import train_in_group  # noqa: E402


@dataclass(frozen=True)
class Ending:
    """How a session of a study ended."""

    complete: bool
    without_result: int  # trials that failed or diverged


def run_study(study: StudySpec, folder: Path, display: Display, optuna_storage: str | None = None) -> Ending:
    """Run `study` in `folder`, which exists, going on from what the ledger there holds.

    Args:
        study: what to run.
        folder: its results.
        display: told of every event.
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
            _run_session(study, folder, record, mirror, display)
        write_results(folder)
        lost = sum(known.outcome.lost for known in record.records)
        return Ending(_is_complete(study, record), without_result=lost)


def _is_complete(study: StudySpec, record: Ledger) -> bool:
    return Planner(study, optuna_suggest(study), record.records).next() is Step.DONE


def _run_session(study: StudySpec, folder: Path, record: Ledger, mirror: Mirror, display: Display) -> None:
    with _ray(display):
        slots = concurrency(study.trial.resources, ray.cluster_resources())
        display.note(f"{slots} trials at a time")
        earlier = provenance.read_sessions(folder)
        session = provenance.new_session(int(ray.cluster_resources().get("GPU", 0)))
        _say_if_code_changed(earlier, session, display)
        provenance.write_provenance(folder, study, earlier, session)
        planner = Planner(study, optuna_suggest(study), record.records)
        shutil.rmtree(folder / ".tune", ignore_errors=True)  # what a killed session left
        try:
            searcher = _PlannedSearch(study, folder, planner, record, slots, mirror, display)
            _tune(study, folder, searcher)
            if searcher.error:
                raise searcher.error
        finally:
            provenance.write_provenance(folder, study, earlier, provenance.ended(session))
            shutil.rmtree(folder / ".tune", ignore_errors=True)


def concurrency(resources: ResourceSpec, available: dict[str, float]) -> int:
    """Return how many trials fit at a time into `available` (Ray's names: CPU, GPU).

    Raises:
        StudyError: if not even one does.
    """
    wanted = {"CPU": resources.cpus, "GPU": resources.gpus}
    for name, amount in wanted.items():
        if amount > available.get(name, 0):
            key = f"trial.resources.{name.lower()}s_per_worker"
            raise StudyError(f"{key}: a trial needs {amount:g} {name}, but there are {available.get(name, 0):g}")
    return int(min(available[name] // amount for name, amount in wanted.items() if amount))


class _PlannedSearch(Searcher):  # type: ignore[misc]  # Ray has no types
    """Tune asks it for trials and tells it of reports and ends; it asks the planner and writes the ledger."""

    def __init__(
        self,
        study: StudySpec,
        folder: Path,
        planner: Planner,
        record: Ledger,
        slots: int,
        mirror: Mirror,
        display: Display,
    ) -> None:
        super().__init__()
        self._study, self._folder, self._planner = study, folder, planner
        self._ledger, self.slots, self._mirror, self._display = record, slots, mirror, display
        self._cells: dict[str, Cell] = {}  # running, by Tune's trial id
        self.error: SearchError | None = None  # to be raised outside of Tune

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        while True:
            try:
                step = self._planner.next()
            except SearchError as error:
                self.error = error
                return str(Searcher.FINISHED)
            if isinstance(step, Step):
                return Searcher.FINISHED if step is Step.DONE else None
            # A crash may have come between a trial's outcome and its line in the ledger.
            if outcome := read_outcome(self._folder / "trials" / step.id):
                self._settle(step, outcome)
                continue
            self._cells[trial_id] = step
            self._mirror.started(step)
            self._display.started(step)
            folder, watch = self._folder / "trials" / step.id, self._planner.watch(step)
            return {
                "trial": self._trial(step).model_dump_json(),
                "folder": str(folder.resolve()),
                "watch": asdict(watch) if watch else None,
            }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        cell = self._cells[trial_id]
        self._mirror.epoch(cell, result)
        self._display.epoch(cell, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        cell = self._cells.pop(trial_id)
        folder = self._folder / "trials" / cell.id
        outcome = read_outcome(folder)
        if outcome is None and error:
            outcome = Outcome("failed", {}, read_error(folder))
        if outcome is not None:  # else it was stopped by Ctrl-C: it goes on next time
            self._settle(cell, outcome)

    def _settle(self, cell: Cell, outcome: Outcome) -> None:
        self._ledger.append(Record(cell, outcome, self._trial(cell).content_hash(), provenance.now()))
        self._planner.settle(cell.id, outcome)
        self._mirror.settled(cell, outcome)
        self._display.settled(cell, outcome)

    def _trial(self, cell: Cell) -> TrialSpec:
        return arm_trial(self._study, cell.arm, cell.setting, epochs=cell.epochs, phase=cell.phase, seed=cell.seed)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are not used."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are not used."""


def _run_cell(config: dict[str, Any]) -> None:
    """Train one trial inside its Tune trial, or in a Ray Train group that it starts."""
    trial, folder, watch = TrialSpec.model_validate_json(config["trial"]), Path(config["folder"]), config["watch"]
    if trial.resources.workers:
        train_in_group(trial, folder, watch)
    else:
        run_trial(trial, folder, own_device(trial.resources), tune.report, Watch.read(watch) if watch else None)


def _tune(study: StudySpec, folder: Path, searcher: _PlannedSearch) -> None:
    resources = study.trial.resources
    # The driver of a group only waits. With a whole CPU each, drivers could take all of them and no worker start.
    alone = {"CPU": resources.cpus, "GPU": resources.gpus}
    waiting = {"node:__internal_head__": 0.001}
    tuner = tune.Tuner(
        tune.with_resources(_run_cell, waiting if resources.workers else alone),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=searcher.slots,
            reuse_actors=resources.workers == 0,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str((folder / ".tune").resolve()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=study.max_failures),
        ),
    )
    tuner.fit()


@contextmanager
def _ray(display: Display) -> Iterator[None]:
    port = _free_port()
    os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"  # Train's clean-up asks the own cluster
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a trial's error goes to its log and to the table
    ray.init(
        address="local",
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=port,
        logging_level="ERROR",
        log_to_driver=False,
    )
    try:
        display.note(f"Ray dashboard: http://127.0.0.1:{port} (asked for a token? run: ray get-auth-token)")
        yield
    finally:
        ray.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
