"""One Tune run that a planner feeds: Tune starts, retries and stops trials, and nothing of its state is read back."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from dks_study.engine.cell import NO_MORE, NO_ROOM, run_cell
from dks_study.engine.forgetting import SilentProgress, forget_ended
from dks_study.engine.hands import Hands
from dks_study.engine.interrupts import AGAIN
from dks_study.engine.joining import is_lost
from dks_study.engine.low_memory import tell_kills_as_deaths
from dks_study.engine.process import NAME, lasting_trials
from dks_study.engine.sharing import SharedData
from dks_study.engine.uncounted import callbacks_uncounted
from dks_study.spec.base import LostError
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import TrialSpec
from dks_study.study import provenance
from dks_study.study.cell import Cell
from dks_study.study.failures import is_out_of_memory
from dks_study.study.identity import identity, read_origin
from dks_study.study.ledger import ERROR, Outcome, Record, Status, read_outcome
from dks_study.study.planner import Planner, Step, trial_of
from dks_study.study.sealing import plan_of
from dks_study.study.search import SearchError, optuna_suggest
from dks_study.study.trial import in_parts, most_parts, read_error, read_parts, train_in_parts
from dks_study.training.arm_checks import StudyError
from dks_study.watch.estimate import own_seconds


class PlannedSearch(Searcher):  # type: ignore[misc]  # Ray has no types
    """Tune asks it for trials and tells it of reports and ends; it asks the planner and writes the ledger."""

    def __init__(self, study: StudySpec, planner: Planner, hands: Hands) -> None:
        super().__init__()
        self._study, self._planner, self._hands = study, planner, hands
        self._plan = plan_of(study)
        self._cells: dict[str, Cell] = {}  # running, by Tune's trial id
        self._again: list[Cell] = []  # ran out of memory: to be trained in more parts
        self._errors: dict[str, BaseException] = {}  # by Tune's trial id
        self._described: dict[str, TrialSpec] = {}  # not settled, by id of the cell: to make one takes a millisecond
        # By Tune's trial id: when it was handed out, and when its epochs were reported.
        self._times: dict[str, list[float]] = {}
        self.stopping = False  # no new trials; those that run end after their epoch
        self.error: Exception | None = None  # to be raised outside of Tune

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles what it is given, which nobody reads, and a display on a terminal cannot be pickled."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        # Not by Tune's max_concurrent_trials, which is fixed: a cluster may grow and shrink.
        if self.stopping or self.error:
            return str(Searcher.FINISHED)
        if len(self._cells) >= self._hands.slots.now() or not self._room():
            return None
        try:
            step = self._again.pop(0) if self._again else self._next(self._may_begin if self._hands.closing else None)
        except (SearchError, OSError) as error:
            self.error = error
            return str(Searcher.FINISHED)
        if isinstance(step, Step):
            return str(Searcher.FINISHED) if step is Step.DONE else None
        self._cells[trial_id], self._times[trial_id] = step, [time.monotonic()]
        return self._start(step)

    def _room(self) -> bool:
        if not (has_room := self._hands.checkpoints.has_room()) and not self._cells:
            self.error = StudyError(f"{self._hands.files.folder}: {NO_ROOM}")
        return has_room

    def _next(self, may_begin: Callable[[Sequence[Cell]], bool] | None = None) -> Cell | Step:
        while isinstance(step := self._planner.next(may_begin), Cell):
            if step.phase == "confirm" and self._hands.record.seal(self._plan):  # before any test result is there
                self._hands.files.save(self._hands.record.path.name)
            # A crash may have come between a trial's outcome and its line in the ledger.
            self._hands.files.fetch(step.id)
            folder = self._hands.files.trial(step.id)
            outcome = read_outcome(folder)
            if outcome is None and self._hands.adoption:
                outcome = self._hands.adoption.take(step, self._trial(step), self._planner.watch(step))
            if outcome is None:
                return step
            self._end(step, outcome)
            if self._again:
                return self._again.pop(0)
            if self.error:
                raise self.error
        return step

    def _may_begin(self, cells: Sequence[Cell]) -> bool:
        assert self._hands.closing is not None
        now = time.monotonic()
        running = [(cell, now - self._times[name][0]) for name, cell in self._cells.items()]
        return self._hands.closing.has_time(cells, running, self._hands.slots.now())

    def adopt(self) -> list[tuple[Cell, TrialSpec]]:
        """Take all that can be taken by now; return what is to be trained by now.

        Raises:
            SearchError, OSError: as the planner and the study's files.
        """
        trained = list[tuple[Cell, TrialSpec]]()
        with self._hands.record.together(), self._hands.mirror.together():
            while not self.stopping and isinstance(step := self._next(), Cell):
                trained.append((step, self._trial(step)))  # it counts as running, so that the planner goes on to others
        self._planner = Planner(self._study, optuna_suggest(self._study), self._hands.record.records)
        self._described.clear()
        return trained

    def _start(self, cell: Cell) -> dict[str, Any]:
        self._hands.checkpoints.started(cell.id)
        self._hands.mirror.started(cell)
        self._hands.display.started(cell)
        (self._hands.files.trial(cell.id) / ERROR).unlink(missing_ok=True)  # of an earlier session
        watch = self._planner.watch(cell)
        return {
            NAME: cell.name,
            "trial": self._trial(cell).model_dump_json(),
            "place": self._hands.files.place(cell.id),
            "watch": asdict(watch) if watch else None,
            "code": self._hands.code,
            "limit_s": self._study.trial.time_limit_s,
            "keep_predictions": self._study.keep_predictions,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "epoch" in result:
            cell = self._cells[trial_id]
            self._times[trial_id].append(time.monotonic())
            self._hands.mirror.epoch(cell, result)
            self._hands.display.epoch(cell, result)
        elif NO_MORE in result:
            self.error = StudyError(f"{self._hands.files.folder}: {result[NO_MORE]}")

    def on_error(self, trial_id: str, error: BaseException) -> None:
        """Learn why Tune gives a trial up, just before `on_trial_complete`."""
        self._errors[trial_id] = error

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        cell, why = self._cells.pop(trial_id), self._errors.pop(trial_id, None)
        times = [*self._times.pop(trial_id), time.monotonic()]
        folder = self._hands.files.trial(cell.id)
        try:
            self._hands.files.fetch(cell.id)
        except OSError as unreachable:
            self.error = unreachable
            return
        outcome = read_outcome(folder)
        if outcome is None and error and is_lost():  # no fault of the trial's: it goes on next time
            self.error = LostError(f"Ray was lost or failed: {AGAIN}")
        elif outcome is None and error:
            status: Status = "out_of_memory" if why and is_out_of_memory(why) else "failed"
            outcome = Outcome(status, {}, read_error(folder, why))
        if outcome is not None and self._hands.closing:
            self._hands.closing.learn(cell, outcome, times[-1] - times[0])
        if outcome is not None:  # else it was stopped by Ctrl-C, or the disk is full: it goes on next time
            self._end(cell, replace(outcome, seconds=self._seconds(cell, outcome, times)))

    def _seconds(self, cell: Cell, outcome: Outcome, times: Sequence[float]) -> float | None:
        """Return how long a trial took; it is not known of one that goes back to an earlier attempt."""
        trained = len(outcome.steps) if outcome.status == "stopped" else cell.epochs
        return own_seconds(times) if len(times) == trained + 2 else None  # all of it was seen

    def _end(self, cell: Cell, outcome: Outcome) -> None:
        """Settle a trial, or let it be trained in more parts if it ran out of memory and the study asks for that."""
        folder = self._hands.files.trial(cell.id)
        try:
            if outcome.status == "out_of_memory" and self._study.out_of_memory == "accumulate":
                parts = 2 * self._trial(cell).optimiser.accumulate
                if parts <= most_parts(self._trial(cell)):
                    self._hands.files.start_anew(cell.id, train_in_parts(folder, parts))
                    self._again.append(cell)
                    return
            self._settle(cell, replace(outcome, accumulate=read_parts(folder)))
        except OSError as error:  # the ledger cannot be written: nothing may go on as if it had been
            self.error = error

    def _settle(self, cell: Cell, outcome: Outcome) -> None:
        data, trial = self._hands.data.fingerprint.digest, self._trial(cell)
        kept = read_origin(self._hands.files.trial(cell.id))
        whole = kept.origin is not None and outcome.status == "complete" and outcome.accumulate is None
        name = identity(trial, data, kept.origin or {}) if whole else None
        tries = self._hands.record.tries(cell.id)
        ended, origin = provenance.now(), kept.adopted_from
        plan = kept.plan if origin else self._hands.adoption.seen_under(cell, trial)
        record = Record(cell, outcome, trial.content_hash(), ended, data, name, origin, tries, plan)
        del self._described[cell.id]
        self._hands.record.append(record)
        self._hands.files.save(self._hands.record.path.name)
        self._hands.checkpoints.settled(record)
        self._planner.settle(cell.id, outcome)
        self._hands.mirror.settled(cell, outcome)
        # Nobody has seen it train: it is told of like one that ended in an earlier session.
        self._hands.display.settled(cell, outcome, earlier=record.adopted_from is not None)

    def _trial(self, cell: Cell) -> TrialSpec:
        if cell.id not in self._described:
            self._described[cell.id] = trial_of(self._study, cell)
        trial = self._described[cell.id]
        parts = read_parts(self._hands.files.trial(cell.id))
        return in_parts(trial, parts) if parts else trial

    def save(self, checkpoint_path: str) -> None:
        """Nothing, nor does `restore`: Tune's snapshots are not used."""

    restore = save


class _Listener(FIFOScheduler):  # type: ignore[misc]  # Ray has no types
    """Runs trials in their order; tells of errors, and stops trials at the end of an epoch when told to stop."""

    def __init__(self, searcher: PlannedSearch) -> None:
        super().__init__()
        self._searcher, self._told = searcher, False

    def on_trial_add(self, controller: object, trial: Trial) -> None:
        if not self._told:
            tell_kills_as_deaths(controller)
            self._told = True

    def choose_trial_to_run(self, controller: object) -> None:
        """Choose none: Tune starts them in their order by itself.

        One that is chosen takes the process that another trial left, and the one that was starting for it is given up.
        Trials that are shorter than such a start would run one at a time for ever.
        """

    def on_trial_result(self, controller: object, trial: Trial, result: dict[str, Any]) -> str:
        return str(self.STOP if self._searcher.stopping or self._searcher.error else self.CONTINUE)

    def on_trial_error(self, controller: object, trial: Trial) -> None:
        # Not by trial.get_pickled_error(), which looks where the file is copied to only later.
        file = Path(trial.pickled_error_file or "")
        if file.is_file():
            self._searcher.on_error(trial.trial_id, cloudpickle.loads(file.read_bytes()))

    def on_trial_complete(self, controller: object, trial: Trial, result: dict[str, Any]) -> None:
        forget_ended(controller)  # not when one fails: Tune counts it as ended for a moment before it tries again


def tune_study(study: StudySpec, scratch: Path, searcher: PlannedSearch, data: SharedData) -> None:
    """Run trials on `data` until `searcher` has no more, or an error, or is told to stop."""
    resources = study.trial.resources
    # The driver of a group only waits. With a whole CPU each, drivers could take all of them and no worker start.
    alone = {"CPU": resources.cpus, "GPU": resources.gpus}
    wanted = {"node:__internal_head__": 0.001} if resources.workers else alone
    tuner = tune.Tuner(
        lasting_trials(tune.with_resources(tune.with_parameters(run_cell, data=data), wanted), study.name),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=_Listener(searcher),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch.resolve()),
            verbose=0,
            callbacks=[SilentProgress()],
            failure_config=tune.FailureConfig(max_failures=study.max_failures),
        ),
    )
    with callbacks_uncounted():
        tuner.fit()
