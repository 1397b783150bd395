"""Optuna as a pure function: an arm's next setting from what the arm has tried so far.

Every suggestion comes from a fresh sampler, seeded by the study's search seed, that is shown its search's history. So a
resumed study suggests what the uninterrupted one would have, and arms differ only by their results (same seed, own
sampler). What is kept from one suggestion to the next saves time and changes none.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from dks_study.method.streams import derive
from dks_study.spec.base import Problem
from dks_study.spec.objectives import MAXIMISED
from dks_study.spec.search import AxisSpec
from dks_study.spec.space import ArmSpace, arm_space, sampler_of, searched
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Scalar, Setting
from dks_study.study.choosing import Tried
from dks_study.study.planner import Search, Suggest

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
    histories: dict[tuple[Search, tuple[str, ...]], _Growing] = {}

    def suggest(search: Search, index: int, tried: Sequence[Tried], widened: Sequence[str]) -> Setting:
        arm, repeat = search
        space, kind = spaces[arm].widened(widened), sampler_of(study, spaces[arm])
        stream = ("search", repeat) if kind in _REPLAYED else ("search", repeat, index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = _SAMPLERS[kind](study, arm, space, derive(study.search.seed, *stream) % 2**32)
        if kind in _REPLAYED:
            return _first_new(study, arm, space, _replayed(study, space, tried, sampler).ask, tried)
        key = search, tuple(widened)
        if key not in histories:
            histories[key] = _Growing(study, space)
        with histories[key].asked(() if kind == "random" else tried, sampler) as ask:  # which looks at nothing
            return _first_new(study, arm, space, ask, tried)

    return suggest


def _first_new(
    study: StudySpec, arm: str, space: ArmSpace, ask: Callable[[], optuna.Trial], tried: Sequence[Tried]
) -> Setting:
    """Ask until a setting is allowed and was not tried."""
    known = [trial.setting for trial in tried]
    repeated: Setting | None = None
    for _ in range(ATTEMPTS):
        setting = space.tied(_suggest_all(ask(), space))
        if not space.allows(setting):
            continue
        if setting not in known:
            return setting
        repeated = repeated or setting
    if repeated is None:
        listed = ", ".join(study.search.constraints)
        raise SearchError(f"{arm}: none of {ATTEMPTS} suggestions meets search.constraints ({listed})")
    return repeated  # the space is exhausted, or nearly: the planner gives it another seed


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


class _Growing:
    """An arm's history as an Optuna study that grows with it: building all of it anew takes longer every time."""

    def __init__(self, study: StudySpec, space: ArmSpace) -> None:
        self._directions, self._space = directions(study), space
        self._begin()

    def _begin(self) -> None:
        self._storage = InMemoryStorage()
        self._history = optuna.create_study(directions=self._directions, storage=self._storage)
        self._study_id = self._storage.get_study_id_from_name(self._history.study_name)
        self._shown: list[tuple[int, Tried]] = []  # Optuna's id of each, and as what it was shown

    @contextmanager
    def asked(self, tried: Sequence[Tried], sampler: BaseSampler) -> Iterator[Callable[[], optuna.Trial]]:
        """Give out what asks `sampler` after the trials `tried`; nothing is left of what it was asked."""
        if len(tried) < len(self._shown) or not all(map(_is_later, tried, (before for _, before in self._shown))):
            self._begin()  # a history of its own
        for index, trial in enumerate(tried):
            self._show(index, trial)
        self._history.sampler = sampler
        asked: list[optuna.Trial] = []

        def ask() -> optuna.Trial:
            asked.append(self._history.ask())
            return asked[-1]

        try:
            yield ask
        finally:
            for each in asked:  # samplers pass over trials that failed
                self._history.tell(each, state=TrialState.FAIL)

    def _show(self, index: int, trial: Tried) -> None:
        state = TrialState.COMPLETE if trial.values else TrialState.PRUNED if trial.steps else TrialState.RUNNING
        if index == len(self._shown):
            shown = frozen(self._space, trial.setting, state, trial.values, trial.steps)
            self._shown.append((self._storage.create_new_trial(self._study_id, template_trial=shown), trial))
        elif trial != self._shown[index][1]:  # it was running
            number, _ = self._shown[index]
            for epoch, value in enumerate(trial.steps, start=1):
                self._storage.set_trial_intermediate_value(number, epoch, value)
            self._storage.set_trial_state_values(number, state, trial.values)
            self._shown[index] = number, trial


def _is_later(trial: Tried, before: Tried) -> bool:
    """Is `trial` what was seen `before`, or what became of it?"""
    return trial == before or before == Tried(trial.setting, None, seed=trial.seed)


def _replayed(study: StudySpec, space: ArmSpace, tried: Sequence[Tried], sampler: BaseSampler) -> optuna.Study:
    history = optuna.create_study(directions=directions(study), sampler=sampler)
    for trial in tried:
        _replay(history, space, trial)
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
