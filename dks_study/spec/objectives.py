"""What a search may aim at, in which direction, and which trials no other one beats in everything."""

from collections.abc import Mapping, Sequence

ACCURACY = "val/top1/main"  # percent; what a search maximises unless told otherwise, after its last epoch

# Name in a trial's metrics -> whether more of it is better.
MAXIMISED: Mapping[str, bool] = {
    ACCURACY: True,
    "val/loss/main": False,  # nats
    "cost/macs_train": False,  # multiply-accumulates per image, forward pass
    "cost/params_train": False,
    "cost/macs_inference": False,
    "cost/params_inference": False,
    "time/train_s": False,  # of the last epoch; measured, so no two runs of a study agree on it
}


def gains(objectives: Sequence[str], values: Sequence[float]) -> tuple[float, ...]:
    """Return `values` with signs such that more is better in each."""
    return tuple(v if MAXIMISED[name] else -v for name, v in zip(objectives, values, strict=True))


def front(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Return the indices of the points that none beats (more is better), the largest first value first.

    Of equal points the earliest stands for all.
    """
    best = [i for i, point in enumerate(points) if not any(_beats(other, point) for other in points)]
    first = {points[i]: i for i in reversed(best)}
    return sorted(first.values(), key=lambda i: (*(-value for value in points[i]), i))


def spread(members: Sequence[int], at_most: int) -> list[int]:
    """Return at most `at_most` of the members of a front: its first, its last, and evenly spaced ones between."""
    if len(members) <= at_most:
        return list(members)
    step = (len(members) - 1) / (at_most - 1) if at_most > 1 else 0.0
    return [members[round(i * step)] for i in range(at_most)]


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
