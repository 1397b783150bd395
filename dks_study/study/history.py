"""A search's past as Optuna is shown it, kept from one suggestion to the next."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from dks_study.spec.objectives import MAXIMISED
from dks_study.spec.search import AxisSpec
from dks_study.spec.space import ArmSpace
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Scalar, Setting
from dks_study.study.choosing import Tried

Ask = Callable[[], optuna.Trial]


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


class Growing:
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
    def asked(self, tried: Sequence[Tried], sampler: BaseSampler) -> Iterator[Ask]:
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


class Replayed:
    """A search as an Optuna study in which each suggestion was made again, in order.

    What was asked last is part of it: it goes on only where just this came to be the next trial.
    """

    def __init__(self, study: StudySpec, space: ArmSpace, tried: Sequence[Tried]) -> None:
        self._directions, self._space, self._tried = directions(study), space, list(tried)
        self._history: optuna.Study | None = None  # until it is asked: it needs a sampler
        self._asked: list[optuna.Trial] = []
        self._suggested: Setting = {}

    def goes_on(self, tried: Sequence[Tried]) -> bool:
        """Is `tried` what it was, and what was then suggested? If so it is taken as the next trial."""
        *before, last = tried or [Tried({}, None)]
        if len(self._asked) != 1 or before != self._tried or last.setting != self._suggested:
            return False
        _tell(self._asked[0], last)
        self._tried = list(tried)
        return True

    def next(self, sampler: BaseSampler, suggest: Callable[[Ask], Setting]) -> Setting:
        """Return what `suggest` makes of what asks `sampler`, which must be as new."""
        if self._history is None:
            self._history = optuna.create_study(directions=self._directions, sampler=sampler)
            for trial in self._tried:
                _replay(self._history, self._space, trial)
        history, asked = self._history, list[optuna.Trial]()
        history.sampler = sampler

        def ask() -> optuna.Trial:
            asked.append(history.ask())
            return asked[-1]

        self._asked = asked
        self._suggested = suggest(ask)
        return self._suggested


def _replay(history: optuna.Study, space: ArmSpace, trial: Tried) -> None:
    history.enqueue_trial({key: value for key, value in trial.setting.items() if key in space.axes})
    asked = history.ask()
    suggest_all(asked, space)
    _tell(asked, trial)


def _tell(asked: optuna.Trial, trial: Tried) -> None:
    if trial.values:
        asked.study.tell(asked, list(trial.values))
    elif trial.steps:
        for epoch, value in enumerate(trial.steps, start=1):
            asked.report(value, epoch)
        asked.study.tell(asked, state=TrialState.PRUNED)


def suggest_all(trial: optuna.Trial, space: ArmSpace) -> dict[str, Scalar]:
    """Ask for a value of every axis of `space` that is active."""
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
