"""Early stopping as data: before a search trial starts, from what value on it is given up after which epoch.

A trial is compared with the arm's own trials of earlier groups alone, all of which have ended when it starts. So its
bars are a pure function of the ledger, the same in an uninterrupted study and after any crash, and the trial stops
itself: nothing has to be killed. The price: it never learns from trials that run beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Self

from dks_study.spec.objectives import MAXIMISED
from dks_study.spec.search import EarlyStoppingSpec

MEDIAN_OF = 3  # trials that the median rule wants to see before it stops any

Steps = Sequence[float]  # an objective after epochs 1, 2, ...


@dataclass(frozen=True)
class Watch:
    """What a search trial keeps of every epoch, and where it stops.

    Attributes:
        metric: the objective that is kept; None where it is not known after every epoch.
        bars: (epoch, value) pairs: after that epoch the trial ends if it is worse than the value.
        best_so_far: whether the best of its epochs is compared, or the one just trained.
        costs: whether an objective needs what the network costs.
    """

    metric: str | None
    bars: tuple[tuple[int, float], ...] = ()
    best_so_far: bool = False
    costs: bool = False

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """Return the watch of which JSON kept the fields."""
        return cls(**{**fields, "bars": tuple((epoch, value) for epoch, value in fields["bars"])})

    def verdict(self, steps: Steps) -> str | None:
        """Return why a trial ends after the epochs `steps`, or None."""
        bar = dict(self.bars).get(len(steps))
        if bar is None or self.metric is None:
            return None
        sign = _sign(self.metric)
        value = sign * max(sign * step for step in steps) if self.best_so_far else steps[-1]
        if sign * value >= sign * bar:
            return None
        return f"after epoch {len(steps)}: {self.metric} {value:.4g}, the bar is {bar:.4g}"


def watch(rule: EarlyStoppingSpec, metric: str, epochs: int, index: int, others: Mapping[int, Steps]) -> Watch:
    """Return what search trial `index` of an arm is told.

    Args:
        rule: the study's rule.
        metric: its objective.
        epochs: what the trial trains if it is not stopped.
        index: of the trial.
        others: the steps of the arm's trials of earlier groups, by index.
    """
    sign, rivals = _sign(metric), others
    epoch_of_bar: Iterable[int] = ()
    if rule.kind == "median":
        epoch_of_bar = range(rule.grace_epochs, epochs)
    elif rule.kind == "asha":
        epoch_of_bar = rungs(rule.grace_epochs, rule.reduction, epochs)
    elif rule.kind == "hyperband":
        count = brackets(rule, epochs)
        rivals = {other: steps for other, steps in others.items() if other % count == index % count}
        epoch_of_bar = rungs(rule.grace_epochs * rule.reduction ** (index % count), rule.reduction, epochs)
    bars = []
    for epoch in epoch_of_bar:
        reached = [[sign * step for step in steps[:epoch]] for steps in rivals.values() if len(steps) >= epoch]
        bar = _median(reached) if rule.kind == "median" else _rung(reached, rule.reduction)
        if bar is not None:
            bars.append((epoch, sign * bar))
    return Watch(metric, tuple(bars), best_so_far=rule.kind == "median")


def rungs(grace: int, reduction: int, epochs: int) -> list[int]:
    """Return the epochs after which successive halving decides: grace, grace * reduction, ... below `epochs`."""
    decided = []
    while grace < epochs:
        decided.append(grace)
        grace *= reduction
    return decided


def brackets(rule: EarlyStoppingSpec, epochs: int) -> int:
    """Return the number of hyperband's brackets: bracket b has grace * reduction ** b; trials take turns."""
    return max(1, len(rungs(rule.grace_epochs, rule.reduction, epochs)))


def _median(reached: Sequence[Steps]) -> float | None:
    """Return the median of what the others had reached at their best by then."""
    return median(max(steps) for steps in reached) if len(reached) >= MEDIAN_OF else None


def _rung(reached: Sequence[Steps], reduction: int) -> float | None:
    """Return the worst value that is among the best 1/reduction (one at least), the newcomer counted in."""
    values = sorted((steps[-1] for steps in reached), reverse=True)
    kept = max(1, (len(values) + 1) // reduction)
    return values[kept - 1] if len(values) >= kept else None


def _sign(metric: str) -> int:
    return 1 if MAXIMISED[metric] else -1
