"""Optuna as a pure function: an arm's next setting from what the arm has tried so far.

Every suggestion comes from a fresh sampler, seeded by the study's search seed, that is shown its search's history. So a
resumed study suggests what the uninterrupted one would have, and arms differ only by their results (same seed, own
sampler). What is kept from one suggestion to the next saves time and changes none.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

from dks_study.method.streams import derive
from dks_study.spec.base import Problem
from dks_study.spec.space import ArmSpace, arm_space, sampler_of, searched
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Setting
from dks_study.study.choosing import Tried
from dks_study.study.history import Ask, Growing, Replayed, suggest_all
from dks_study.study.planner import Search, Suggest

ATTEMPTS = 100  # suggestions that are asked for before an arm is said to have no more that the constraints allow

# These keep notes on their own earlier suggestions (generations, positions in a sequence): they are shown the history
# by suggesting all of it again. The others need only the values.
_REPLAYED = ("cmaes", "nsga2", "qmc")
# Of these, the ones whose notes stand in the Optuna study alone, so that a sampler as new can go on with it.
_WITHOUT_MEMORY = ("qmc",)


class SearchError(Problem, RuntimeError):
    """No further setting can be found; the message is one line."""


def optuna_suggest(study: StudySpec) -> Suggest:
    """Return the samplers of `study`: by default multivariate TPE that is random for the first third of the trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {arm: arm_space(study, arm) for arm in study.arms}
    trials = {arm: searched(study, arm) for arm in study.arms}
    histories: dict[tuple[Search, tuple[str, ...]], Growing] = {}
    sequences: dict[tuple[Search, tuple[str, ...]], Replayed] = {}

    def suggest(search: Search, index: int, tried: Sequence[Tried], widened: Sequence[str]) -> Setting:
        arm, repeat = search
        space, kind = spaces[arm].widened(widened), sampler_of(study, spaces[arm])
        stream = ("search", repeat) if kind in _REPLAYED else ("search", repeat, index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = _SAMPLERS[kind](trials[arm], space, derive(study.search.seed, *stream) % 2**32)
        key = search, tuple(widened)
        if kind in _REPLAYED:
            sequence = sequences.get(key) if kind in _WITHOUT_MEMORY else None
            sequences[key] = sequence if sequence and sequence.goes_on(tried) else Replayed(study, space, tried)
            return sequences[key].next(sampler, lambda ask: _first_new(study, arm, space, ask, tried))
        if key not in histories:
            histories[key] = Growing(study, space)
        with histories[key].asked(() if kind == "random" else tried, sampler) as ask:  # which looks at nothing
            return _first_new(study, arm, space, ask, tried)

    return suggest


def _first_new(study: StudySpec, arm: str, space: ArmSpace, ask: Ask, tried: Sequence[Tried]) -> Setting:
    """Ask until a setting is allowed and was not tried."""
    known = [trial.setting for trial in tried]
    repeated: Setting | None = None
    for _ in range(ATTEMPTS):
        setting = space.tied(suggest_all(ask(), space))
        if not space.allows(setting):
            continue
        if setting not in known:
            return setting
        repeated = repeated or setting
    if repeated is None:
        listed = ", ".join(study.search.constraints)
        raise SearchError(f"{arm}: none of {ATTEMPTS} suggestions meets search.constraints ({listed})")
    return repeated  # the space is exhausted, or nearly: the planner gives it another seed


def _startup(trials: int) -> int:
    """Return how many of an arm's `trials` are random before a sampler learns."""
    return max(2, min(10, trials // 3))


def _tpe(trials: int, space: ArmSpace, seed: int) -> BaseSampler:
    return TPESampler(
        seed=seed,
        n_startup_trials=_startup(trials),
        multivariate=True,
        group=any(axis.when for axis in space.axes.values()),  # without conditions there is one group
        constant_liar=True,  # a trial without a value (running, failed) is avoided
    )


def _gp(trials: int, space: ArmSpace, seed: int) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=_startup(trials), warn_independent_sampling=False)


def _cmaes(trials: int, space: ArmSpace, seed: int) -> BaseSampler:
    return CmaEsSampler(seed=seed, independent_sampler=RandomSampler(seed=seed), warn_independent_sampling=False)


def _qmc(trials: int, space: ArmSpace, seed: int) -> BaseSampler:
    return QMCSampler(
        seed=seed,
        scramble=True,
        independent_sampler=RandomSampler(seed=seed),
        warn_asynchronous_seeding=False,
        warn_independent_sampling=False,
    )


def _random(trials: int, space: ArmSpace, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _nsga2(trials: int, space: ArmSpace, seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=max(2, min(50, trials // 4)))


_SAMPLERS: Mapping[str, Callable[[int, ArmSpace, int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "qmc": _qmc,
    "random": _random,
    "nsga2": _nsga2,
}
