"""Optuna as a pure function: an arm's next setting from what the arm has tried so far.

Every suggestion comes from a fresh sampler, seeded by the study's search seed and the trial's index, that is shown
the arm's history. So a resumed study suggests what the uninterrupted one would have, and arms differ only by their
results (same seed, own sampler).
"""

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from dks_study.planner import Suggest, Tried
from dks_study.spec import Setting
from dks_study.streams import derive
from dks_study.study_spec import AxisSpec, StudySpec


def optuna_suggest(study: StudySpec) -> Suggest:
    """Return a sampler for `study`: multivariate TPE that is random for the first third of the trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def suggest(arm: str, index: int, tried: Sequence[Tried]) -> Setting:
        space = {key: distribution(axis) for key, axis in study.axes_of(arm).items()}
        sampler = optuna.samplers.TPESampler(
            seed=derive(study.search.seed, "search", index) % 2**32,
            n_startup_trials=max(2, min(10, study.search.trials // 3)),
            multivariate=True,
            constant_liar=True,  # a trial without a value (running, failed) is avoided
        )
        history = optuna.create_study(direction="maximize", sampler=sampler)
        history.add_trials([_past(trial, space) for trial in tried])
        return history.ask(space).params

    return suggest


def distribution(axis: AxisSpec) -> BaseDistribution:
    """Return the Optuna distribution of one axis."""
    if axis.float_range:
        return FloatDistribution(*axis.float_range, log=axis.log)
    if axis.int_range:
        return IntDistribution(*axis.int_range, log=axis.log)
    return CategoricalDistribution(axis.choice or ())


def _past(trial: Tried, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    state = TrialState.RUNNING if trial.value is None else TrialState.COMPLETE
    return create_trial(state=state, value=trial.value, params=dict(trial.setting), distributions=dict(space))
