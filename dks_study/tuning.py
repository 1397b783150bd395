"""One Tune run that a planner feeds: Tune starts, retries and stops trials, and nothing of its state is read back."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from dks_study import provenance
from dks_study.cluster import Slots
from dks_study.compute import own_device
from dks_study.ledger import Cell, Ledger, Outcome, Record, read_outcome
from dks_study.mirror import Mirror
from dks_study.naming import NAME, named_trials
from dks_study.planner import Planner, Step
from dks_study.progress import Display
from dks_study.search import SearchError
from dks_study.sharing import SharedData
from dks_study.spec import TrialSpec
from dks_study.stopping import Watch
from dks_study.study_spec import StudySpec, arm_run, arm_trial
from dks_study.trial import read_error, run_trial
from dks_study.worker import train_in_group


class PlannedSearch(Searcher):  # type: ignore[misc]  # Ray has no types
    """Tune asks it for trials and tells it of reports and ends; it asks the planner and writes the ledger."""

    def __init__(
        self,
        study: StudySpec,
        folder: Path,
        planner: Planner,
        record: Ledger,
        slots: Slots,
        mirror: Mirror,
        display: Display,
    ) -> None:
        super().__init__()
        self._study, self._folder, self._planner = study, folder, planner
        self._ledger, self._slots, self._mirror, self._display = record, slots, mirror, display
        self._cells: dict[str, Cell] = {}  # running, by Tune's trial id
        self.error: SearchError | None = None  # to be raised outside of Tune

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        # Not by Tune's max_concurrent_trials, which is fixed: a cluster may grow and shrink.
        if len(self._cells) >= self._slots.now():
            return None
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
                NAME: step.name,
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


def _run_cell(config: dict[str, Any], data: SharedData) -> None:
    """Train one trial inside its Tune trial, or in a Ray Train group that it starts."""
    trial, folder, watch = TrialSpec.model_validate_json(config["trial"]), Path(config["folder"]), config["watch"]
    if trial.resources.workers:
        train_in_group(trial, folder, watch, data, config[NAME])
    else:
        stops = Watch.read(watch) if watch else None
        run_trial(trial, folder, own_device(trial.resources), tune.report, stops, data)


def tune_study(study: StudySpec, folder: Path, searcher: PlannedSearch) -> None:
    resources = study.trial.resources
    # The driver of a group only waits. With a whole CPU each, drivers could take all of them and no worker start.
    alone = {"CPU": resources.cpus, "GPU": resources.gpus}
    data = SharedData(arm_run(study, arm, {}).data for arm in study.arms)
    waiting = {"node:__internal_head__": 0.001}
    reused = None if resources.workers else f"{study.name}, one trial after another"
    wanted = waiting if resources.workers else alone
    trial = named_trials(tune.with_resources(tune.with_parameters(_run_cell, data=data), wanted), reused)
    tuner = tune.Tuner(
        trial,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
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
