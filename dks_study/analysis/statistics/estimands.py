"""What a mean paired difference is a difference of: of the settings that were chosen, or of the procedure that chose.

A difference of arm and reference at report seed s, under the choices of search repeat r, is

    difference[s] = effect + choice[r] + seed[s]

where `choice` comes from the luck of both searches and `seed` from that of both trainings. *Of the settings* is the
effect of the choices that were made, with other seeds; *of the procedure* is the effect when searches are repeated,
too. One search cannot tell the second; one search for each seed cannot tell the first. Both have the same estimate,
the mean over seeds, and hold the test images fixed (images.py does not). benchmarks/interval_coverage.md has what the
intervals cover.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan, sqrt

import numpy as np

from dks_study.analysis.statistics.paired import Interval, mean_interval, t_ends, t_p
from dks_study.analysis.statistics.signflip import Vector
from dks_study.study.sequential import seen, unless_rounding

SETTINGS, PROCEDURE = "settings", "procedure"


@dataclass(frozen=True)
class Components:
    """Standard deviations of a single difference that come from the choice and from the seed; NaN: not to be told."""

    choice: float
    seed: float


@dataclass(frozen=True)
class Effect:
    """The mean of paired differences with what can be said of it: of the settings, of the procedure, or of both."""

    settings: Interval | None
    procedure: Interval | None
    components: Components

    @property
    def estimand(self) -> str:
        """The wider claim of the two that can be made."""
        return PROCEDURE if self.procedure else SETTINGS

    @property
    def claim(self) -> Interval:
        """The interval of `estimand`."""
        found = self.procedure or self.settings
        if found is None:
            raise ValueError("two differences or more are needed")
        return found


def effect(differences: Sequence[float], repeats: Sequence[int]) -> Effect:
    """Return what can be said of two or more differences; `repeats` names the search repeat that each belongs to."""
    return Effect(
        effect_of_settings(differences, repeats),
        effect_of_procedure(differences, repeats),
        components(differences, repeats),
    )


def effect_of_looks(
    differences: Sequence[float], repeats: Sequence[int], means: Sequence[float], shares: tuple[float, ...]
) -> Effect:
    """Return what can be said where results were looked at after each of `shares` of all seeds, or searches.

    Args:
        differences: by seed.
        repeats: the search of each difference; of the settings alone is spoken after one.
        means: of what is independent: the differences themselves, or their means by search; two or more.
        shares: see `sequential.levels`.
    """
    found = seen(means, shares)
    interval = Interval(*found.ends, found.p, found.standard_error, "looks", found.n - 1)
    spread = components(differences, repeats)
    return Effect(None, interval, spread) if len(set(repeats)) > 1 else Effect(interval, None, spread)


def effect_of_splits(
    differences: Sequence[float], splits: Sequence[int], test_to_training: float, *, searched: bool
) -> Effect:
    """Return what can be said where seeds are trained on several splits of the data; `splits` names that of each.

    With the means over each split's seeds, which training images that splits share make alike, the variance of the mean
    of J splits is (1 / J + n_test / n_train) times that between them (Nadeau and Bengio 2003, the corrected resampled
    t test), by t with J - 1 degrees of freedom. It is of the procedure where each split had searches of its own.

    Args:
        differences: two or more.
        splits: of each; two at the least.
        test_to_training: n_test / n_train; 0 where all splits have the same test images, of which nothing is said then.
        searched: whether something was chosen.

    Raises:
        ValueError: if there is one split.
    """
    values, groups = _grouped(differences, splits)
    if (count := len(groups)) < 2:
        raise ValueError("differences on two splits or more are needed, got those of one")
    means = np.array([group.mean() for group in groups])
    shares = np.array([len(group) for group in groups]) / len(values)
    between = float((shares * (means - values.mean()) ** 2).sum()) * count / (count - 1)
    found = replace(_of_t(values, sqrt((1 / count + test_to_training) * between), count - 1), method="splits")
    spread = Components(nan, components(differences, splits).seed)
    return Effect(None, found, spread) if searched else Effect(found, None, spread)


def effect_of_settings(differences: Sequence[float], repeats: Sequence[int]) -> Interval | None:
    """Return the effect of the choices that were made; `repeats` names the search repeat of each difference.

    After one search it is the sign-flip interval of the seeds. After several it is that of t around the mean, with the
    spread of seeds inside repeats alone. None where every seed has a search of its own.
    """
    values, groups = _grouped(differences, repeats)
    if len(groups) == 1:
        return mean_interval(values) if len(values) > 1 else None
    freedom = len(values) - len(groups)
    return _of_t(values, sqrt(_within(values, groups) / len(values)), freedom) if freedom else None


def effect_of_procedure(differences: Sequence[float], repeats: Sequence[int]) -> Interval | None:
    """Return the effect of searching and training; None after one search, or if there are fewer than two differences.

    With a search for each seed differences are independent, and it is their sign-flip interval. With fewer, it is
    that of t on the means of the R repeats, with R - 1 degrees of freedom; repeats of unequal size count by their
    seeds, with the cluster-robust variance R / (R - 1) * sum of (share * deviation)**2. A choice's spread pooled over
    arms would make narrower intervals, but covers too little where arms are not equally hard to tune.
    """
    values, groups = _grouped(differences, repeats)
    count = len(groups)
    if count < 2:
        return None
    if count == len(values):
        return mean_interval(values)
    shares = [len(group) / len(values) for group in groups]
    deviations = [float(group.mean() - values.mean()) for group in groups]
    squares = sum((share * deviation) ** 2 for share, deviation in zip(shares, deviations, strict=True))
    return _of_t(values, sqrt(count / (count - 1) * squares), count - 1)


def components(differences: Sequence[float], repeats: Sequence[int]) -> Components:
    """Return how much choices and seeds spread a difference, by analysis of variance (a negative variance is 0)."""
    values, groups = _grouped(differences, repeats)
    sizes = np.array([len(group) for group in groups], dtype=float)
    freedom = len(values) - len(groups)
    if len(groups) == 1:
        return Components(nan, float(values.std(ddof=1)) if freedom else nan)
    if not freedom:
        return Components(nan, nan)
    within = _within(values, groups)
    means = np.array([group.mean() for group in groups])
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (len(groups) - 1)
    size = (len(values) - float((sizes**2).sum()) / len(values)) / (len(groups) - 1)  # of a repeat, if all were equal
    return Components(sqrt(max(0.0, (between - within) / size)), sqrt(within))


def _grouped(differences: Sequence[float], repeats: Sequence[int]) -> tuple[Vector, list[Vector]]:
    if len(differences) != len(repeats) or not len(differences):
        raise ValueError(f"one repeat for each difference is needed, got {len(differences)} and {len(repeats)}")
    values, labels = np.asarray(differences, dtype=float), np.asarray(repeats)
    return values, [values[labels == label] for label in np.unique(labels)]


def _within(values: Vector, groups: Sequence[Vector]) -> float:
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return squares / (len(values) - len(groups))


def _of_t(values: Vector, standard_error: float, freedom: int) -> Interval:
    mean, error = float(values.mean()), unless_rounding(standard_error, values)
    return Interval(*t_ends(mean, error, freedom), t_p(mean, error, freedom), error, "t", freedom)
