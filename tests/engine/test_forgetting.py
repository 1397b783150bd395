"""What Tune holds of trials that have ended."""

import gc
import weakref

import pytest
from ray.train._internal.storage import StorageContext
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.utils.callback import _create_default_callbacks

from dks_study.engine.forgetting import SilentProgress, forget_ended
from dks_study.engine.tuning import PlannedSearch, _Listener


@pytest.fixture
def controller(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1000")  # else it asks Ray, which does not run
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    storage = StorageContext(storage_path=str(tmp_path), experiment_dir_name="tune")
    return TuneController(storage=storage, callbacks=_create_default_callbacks([SilentProgress()]))


def run(controller, trial, status):
    """Do to a trial what Tune does."""
    controller.add_trial(trial)
    controller._set_trial_status(trial, Trial.RUNNING)
    controller._pending_trials_list.remove(trial)  # as an actor is added for it
    controller._callbacks.on_trial_result(iteration=1, trials=[], trial=trial, result={"training_iteration": 1})
    end(controller, trial, status)


def end(controller, trial, status):
    ended = controller._callbacks.on_trial_error if status == Trial.ERROR else controller._callbacks.on_trial_complete
    ended(iteration=1, trials=[], trial=trial)
    controller._schedule_trial_stop(trial, ValueError("no") if status == Trial.ERROR else None)
    controller._live_trials.discard(trial)


@pytest.mark.parametrize("status", [Trial.TERMINATED, Trial.ERROR])
def test_nothing_holds_a_trial_that_has_ended(controller, status):
    trial, running = Trial("nothing", stub=True), Trial("nothing", stub=True)
    run(controller, trial, status)
    controller.add_trial(running)
    gone = weakref.ref(trial)
    del trial
    forget_ended(controller)
    gc.collect()
    assert gone() is None
    assert controller.get_trials() == [running]
    end(controller, running, Trial.TERMINATED)
    assert controller.is_finished() == controller.search_alg.is_finished()


@pytest.mark.parametrize("told", ["on_trial_complete", "on_trial_error"])
def test_what_has_ended_is_forgotten_as_a_trial_completes_and_not_as_one_fails_that_may_be_tried_again(
    controller, told, monkeypatch
):
    monkeypatch.setattr(Trial, "local_path", None)  # else it asks Ray
    ended = Trial("nothing", stub=True)
    run(controller, ended, Trial.ERROR)
    result = ({},) if told == "on_trial_complete" else ()
    getattr(_Listener(PlannedSearch.__new__(PlannedSearch)), told)(controller, ended, *result)
    assert controller.get_trials() == ([] if result else [ended])


def test_tune_adds_no_callback_that_holds_every_trial(controller):
    assert [type(each) for each in controller._callbacks._callbacks if isinstance(each, TrialProgressCallback)] == [
        SilentProgress
    ]
