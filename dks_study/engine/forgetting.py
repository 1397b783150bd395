"""What Tune holds of trials that have ended is dropped: 15 KiB each, 2.5 more for each metric, which nobody reads."""

from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback

# Not Ray's public interface: another version may lack some, and holds the trials then.
_SETS = ("_stopped_trials", "_failed_trials", "_trials_to_cache")


class SilentProgress(TrialProgressCallback):  # type: ignore[misc]  # Ray has no types
    """Stands in for the callback that Tune adds where there is none, which holds every trial to print nothing here."""

    def log_result(self, trial: Trial, result: object, error: bool = False) -> None:
        """Print nothing."""

    def on_trial_complete(self, iteration: int, trials: object, trial: Trial, **info: object) -> None:
        """Print nothing."""


def forget_ended(controller: object) -> None:
    """Drop the trials that have ended from Tune's `controller`."""
    trials: list[Trial] = controller.get_trials()  # type: ignore[attr-defined]
    ended = [trial for trial in trials if trial.is_finished()]
    trials[:] = [trial for trial in trials if not trial.is_finished()]
    for name in _SETS:
        getattr(controller, name, set[Trial]()).difference_update(ended)
