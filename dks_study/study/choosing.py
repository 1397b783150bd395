"""What a search learned, which of its settings are raced, and which one is chosen. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from dks_study.spec.objectives import front, gains, spread
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Scalar, Setting
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome


@dataclass(frozen=True)
class Tried:
    """A settled or running trial of an arm's search; value is None while it runs and where it failed or was stopped.

    Attributes:
        more: the values of objectives after the first.
        steps: the objective after epochs 1, 2, ... of a trial that was stopped early.
        diverged: it failed by its setting, and not by chance.
    """

    setting: Setting
    value: float | None
    more: tuple[float, ...] = ()
    steps: tuple[float, ...] = ()
    seed: int = 0
    diverged: bool = False

    @property
    def values(self) -> tuple[float, ...] | None:
        """All objectives, or None."""
        return None if self.value is None else (self.value, *self.more)


def tried(study: StudySpec, cell: Cell, outcome: Outcome | None) -> Tried:
    """Return what a search learns from the trial `cell` that ended with `outcome`, or has not ended."""
    if outcome and outcome.status == "complete":
        first, *more = (outcome.metrics[objective] for objective in study.search.objectives)
        return Tried(cell.setting, first, tuple(more), seed=cell.seed)
    steps = tuple(outcome.steps) if outcome and outcome.status == "stopped" else ()
    diverged = outcome is not None and outcome.status == "diverged"
    return Tried(cell.setting, None, steps=steps, seed=cell.seed, diverged=diverged)


def ranked(study: StudySpec, search: Sequence[Tried]) -> list[Setting]:
    """Return the settings that completed, the best mean of the first objective first; of equals the earliest."""
    means = _means(search)
    order = sorted(range(len(means)), key=lambda i: -gains(study.search.objectives, means[i][1])[0])
    return [means[i][0] for i in order]


def confirmed(study: StudySpec, search: Sequence[Tried]) -> tuple[Setting, ...]:
    """Return the settings that an arm confirms after its `search` if there is no race: the best, or a front."""
    means = _means(search)
    found = front([gains(study.search.objectives, values) for _, values in means])
    return tuple(means[i][0] for i in spread(found, study.search.confirm_at_most))


def finalists(study: StudySpec, search: Sequence[Tried]) -> list[Setting]:
    """Return the settings that are raced after `search`, of which the first trial is the arm as written.

    That one is always among them, unless its trial was lost.
    """
    best = ranked(study, search)
    first, written = best[: study.search.finalists], search[0].setting
    return first if written in first or written not in best else [*first[:-1], written]


def chosen(study: StudySpec, search: Sequence[Tried], race: Sequence[Tried]) -> Setting | None:
    """Return the setting that wins the `race` of the finalists of `search`; None if all lost what they are judged by.

    Of the settings that beat the arm as written by more than the standard error of the paired difference it is the one
    with the best mean over all its seeds; if there is none, it is the arm as written. That one is beaten on the seeds
    that it has where a trial of it was lost by chance, and by every other one if it diverged.
    """
    trials, written = [*search, *race], search[0].setting
    whole = [(s, score) for s in finalists(study, search) if s != written and (score := _whole(study, s, trials))]
    bar = {} if any(t.diverged for t in trials if t.setting == written) else _by_seed(study, written, trials)
    better = [(setting, score) for setting, score in whole if not bar or _beats(score, bar)]
    if not better:
        return written if bar else None
    return max(better, key=lambda each: fmean(each[1].values()))[0]


def _whole(study: StudySpec, setting: Setting, trials: Sequence[Tried]) -> dict[int, float]:
    """Return what `setting` gained with each seed; nothing if one of its trials was lost."""
    lost = any(trial.values is None for trial in trials if trial.setting == setting)
    return {} if lost else _by_seed(study, setting, trials)


def _by_seed(study: StudySpec, setting: Setting, trials: Sequence[Tried]) -> dict[int, float]:
    """Return what `setting` gained with each seed that it has."""
    return {
        trial.seed: gains(study.search.objectives, trial.values)[0]
        for trial in sorted(trials, key=lambda trial: trial.seed)
        if trial.setting == setting and trial.values
    }


def _beats(score: dict[int, float], bar: dict[int, float]) -> bool:
    differences = [score[seed] - bar[seed] for seed in score if seed in bar]
    if len(differences) < 2:
        return sum(differences) > 0
    return fmean(differences) > stdev(differences) / sqrt(len(differences))


def _means(tried: Sequence[Tried]) -> list[tuple[Setting, tuple[float, ...]]]:
    """Return every setting that completed with the mean of its objectives over the seeds it was tried with."""
    by_setting: dict[frozenset[tuple[str, Scalar]], tuple[Setting, list[tuple[float, ...]]]] = {}
    for trial in tried:
        if trial.values is not None:
            by_setting.setdefault(frozenset(trial.setting.items()), (trial.setting, []))[1].append(trial.values)
    return [(setting, tuple(map(fmean, zip(*values, strict=True)))) for setting, values in by_setting.values()]
