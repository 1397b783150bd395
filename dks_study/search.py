"""Optuna as a pure function: an arm's next setting from what the arm has tried so far.

Every suggestion comes from a fresh sampler, seeded by the study's search seed, that is shown the arm's history. So a
resumed study suggests what the uninterrupted one would have, and arms differ only by their results (same seed, own
sampler).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from dks_study.objectives import MAXIMISED
from dks_study.planner import Suggest, Tried
from dks_study.problem import Problem
from dks_study.search_spec import AxisSpec
from dks_study.space import ArmSpace, arm_space, sampler_of, searched
from dks_study.spec import Scalar, Setting
from dks_study.streams import derive
from dks_study.study_spec import StudySpec

ATTEMPTS = 100  # suggestions that are asked for before an arm is said to have no more that the constraints allow

# These keep notes on their own earlier suggestions (generations, positions in a sequence): they are shown the history
# by suggesting all of it again. The others need only the values.
_REPLAYED = ("cmaes", "nsga2", "qmc")


class SearchError(Problem, RuntimeError):
    """No further setting can be found; the message is one line."""


def optuna_suggest(study: StudySpec) -> Suggest:
    """Return the samplers of `study`: by default multivariate TPE that is random for the first third of the trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {arm: arm_space(study, arm) for arm in study.arms}

    def suggest(arm: str, index: int, tried: Sequence[Tried]) -> Setting:
        history = _history(study, arm, spaces[arm], index, tried)
        known = [trial.setting for trial in tried]
        repeated: Setting | None = None
        for _ in range(ATTEMPTS):
            setting = spaces[arm].tied(_ask(history, spaces[arm]))
            if not spaces[arm].allows(setting):
                continue
            if setting not in known:
                return setting
            repeated = repeated or setting
        if repeated is None:
            listed = ", ".join(study.search.constraints)
            raise SearchError(f"{arm}: none of {ATTEMPTS} suggestions meets search.constraints ({listed})")
        return repeated  # the space is exhausted, or nearly: the planner gives it another seed

    return suggest


def directions(study: StudySpec) -> list[StudyDirection]:
    """Return the directions of the objectives."""
    both = {True: StudyDirection.MAXIMIZE, False: StudyDirection.MINIMIZE}
    return [both[MAXIMISED[name]] for name in study.search.objectives]


def distribution(axis: AxisSpec) -> BaseDistribution:
    """Return the Optuna distribution of one axis."""
    if axis.float_range:
        return FloatDistribution(*axis.float_range, log=axis.log)
    if axis.int_range:
        return IntDistribution(*axis.int_range, log=axis.log)
    return CategoricalDistribution(axis.choice or ())


def frozen(
    space: ArmSpace,
    setting: Setting,
    state: TrialState,
    values: Sequence[float] | None = None,
    steps: Sequence[float] = (),
    user_attrs: Mapping[str, str] | None = None,
) -> FrozenTrial:
    """Return an Optuna trial of `space` that tried `setting`; tied keys are not parameters of their own."""
    params = {key: value for key, value in setting.items() if key in space.axes}
    return create_trial(
        state=state,
        values=None if values is None else list(values),
        params=params,
        distributions={key: distribution(space.axes[key]) for key in params},
        intermediate_values=dict(enumerate(steps, start=1)),
        user_attrs=dict(user_attrs or {}),
    )


def _history(study: StudySpec, arm: str, space: ArmSpace, index: int, tried: Sequence[Tried]) -> optuna.Study:
    kind = sampler_of(study, space)
    stream = ("search",) if kind in _REPLAYED else ("search", index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = _SAMPLERS[kind](study, arm, space, derive(study.search.seed, *stream) % 2**32)
    history = optuna.create_study(directions=directions(study), sampler=sampler)
    for trial in tried:
        if kind in _REPLAYED:
            _replay(history, space, trial)
        else:
            state = TrialState.COMPLETE if trial.values else TrialState.PRUNED if trial.steps else TrialState.RUNNING
            history.add_trial(frozen(space, trial.setting, state, trial.values, trial.steps))
    return history


def _replay(history: optuna.Study, space: ArmSpace, trial: Tried) -> None:
    history.enqueue_trial({key: value for key, value in trial.setting.items() if key in space.axes})
    asked = history.ask()
    _suggest_all(asked, space)
    if trial.values:
        history.tell(asked, list(trial.values))
    elif trial.steps:
        for epoch, value in enumerate(trial.steps, start=1):
            asked.report(value, epoch)
        history.tell(asked, state=TrialState.PRUNED)


def _ask(history: optuna.Study, space: ArmSpace) -> dict[str, Scalar]:
    return _suggest_all(history.ask(), space)


def _suggest_all(trial: optuna.Trial, space: ArmSpace) -> dict[str, Scalar]:
    setting: dict[str, Scalar] = {}
    for key, axis in space.axes.items():
        if space.active(key, setting):
            setting[key] = _suggest_one(trial, key, axis)
    return setting


def _suggest_one(trial: optuna.Trial, key: str, axis: AxisSpec) -> Scalar:
    if axis.float_range:
        return trial.suggest_float(key, *axis.float_range, log=axis.log)
    if axis.int_range:
        return trial.suggest_int(key, *axis.int_range, log=axis.log)
    choice: Scalar = trial.suggest_categorical(key, axis.choice or ())  # type: ignore[assignment]
    return choice


def _startup(study: StudySpec, arm: str) -> int:
    """Return how many trials of an arm are random before a sampler learns."""
    return max(2, min(10, searched(study, arm) // 3))


def _tpe(study: StudySpec, arm: str, space: ArmSpace, seed: int) -> BaseSampler:
    return TPESampler(
        seed=seed,
        n_startup_trials=_startup(study, arm),
        multivariate=True,
        group=any(axis.when for axis in space.axes.values()),  # without conditions there is one group
        constant_liar=True,  # a trial without a value (running, failed) is avoided
    )


def _gp(study: StudySpec, arm: str, space: ArmSpace, seed: int) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=_startup(study, arm), warn_independent_sampling=False)


def _cmaes(study: StudySpec, arm: str, space: ArmSpace, seed: int) -> BaseSampler:
    return CmaEsSampler(seed=seed, independent_sampler=RandomSampler(seed=seed), warn_independent_sampling=False)


def _qmc(study: StudySpec, arm: str, space: ArmSpace, seed: int) -> BaseSampler:
    return QMCSampler(
        seed=seed,
        scramble=True,
        independent_sampler=RandomSampler(seed=seed),
        warn_asynchronous_seeding=False,
        warn_independent_sampling=False,
    )


def _random(study: StudySpec, arm: str, space: ArmSpace, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _nsga2(study: StudySpec, arm: str, space: ArmSpace, seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=max(2, min(50, searched(study, arm) // 4)))


_SAMPLERS: Mapping[str, Callable[[StudySpec, str, ArmSpace, int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "qmc": _qmc,
    "random": _random,
    "nsga2": _nsga2,
}
