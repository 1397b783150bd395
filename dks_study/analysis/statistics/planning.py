"""How many seeds, searches and trials: what a study of so many can find, and what a wanted precision takes.

All from the spread of an earlier study: `seed_std` and `choice_std` are the standard deviations of a single paired
difference that come from the seed and from the luck of the searches (see `estimands`), in points; results have the
same unit.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import hypot, inf, sqrt

import numpy as np
from scipy import special  # scipy.stats and scipy.optimize take long to import, and --dry-run asks here

from dks_study.analysis.statistics.signflip import FEWEST_PAIRS, Vector, lower_ends
from dks_study.spec.table import LEVEL

SIMULATED_PAIRS = 10  # up to here the sign-flip test is simulated; above, it is as powerful as a t test
MOST_SEEDS = 400
LEAST_HALF_WIDTH = 0.01  # points: a finer one takes more seeds than anybody trains, and minutes to count


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a single paired difference; `choice_std` None: no study with several searches told it."""

    seed_std: float
    choice_std: float | None = None


@dataclass(frozen=True)
class Plan:
    """Report seeds and independent searches of each arm, and the half width of a 95 % interval to be expected."""

    seeds: int
    searches: int
    half_width: float


def smallest_detectable(std: float, pairs: int, power: float = 0.8, comparisons: int = 1) -> float:
    """Return the true difference that a sign-flip test of `pairs` finds with probability `power`; infinite if none.

    Normal differences of standard deviation `std` are assumed, and the test that Holm's method asks of the clearest of
    `comparisons`: p < 0.05 / comparisons. Up to ten pairs it is simulated (4,000 samples, always the same); above, it
    is that of a t test, which differs by less than 3 % there.

    Raises:
        ValueError: if `pairs` or `comparisons` is below 1, `std` not above 0, or `power` not above 0.05 and at most
            0.99.
    """
    if pairs < 2 or comparisons < 1 or not std > 0 or not 0.05 < power <= 0.99:
        rule = "pairs >= 2, comparisons >= 1, std > 0 and 0.05 < power <= 0.99 are needed"
        raise ValueError(f"{rule}, got {pairs}, {comparisons}, {std} and {power}")
    level = LEVEL / comparisons
    if pairs > SIMULATED_PAIRS:
        return std * detectable_by_t(pairs - 1, power, level) / sqrt(pairs)
    ends = _ends(pairs, level)
    return std * float(np.quantile(-ends, power)) if np.isfinite(ends).all() else inf


@cache  # a table asks for the same few again and again
def detectable_by_t(freedom: int, power: float = 0.8, level: float = LEVEL) -> float:
    """Return the true mean, in standard errors, that a two-sided t test at `level` finds with probability `power`."""
    millionths = range(10**12)
    return bisect_left(millionths, power, key=lambda shift: _t_power(shift / 1e6, freedom, level)) / 1e6


def _t_power(shift: float, freedom: int, level: float) -> float:
    """Return P(|T| > c) for noncentral T: the mean, over the sample's spread, of what the normal distribution says.

    scipy's noncentral t, which statsmodels uses, is NaN at few pairs and large effects.
    """
    spread = np.sqrt(special.chdtri(freedom, (np.arange(4000) + 0.5) / 4000) / freedom)
    limit = special.stdtrit(freedom, 1 - level / 2) * spread
    return float(np.mean(special.ndtr(shift - limit) + special.ndtr(-shift - limit)))


def expected_half_width(std: float, pairs: int) -> float:
    """Return the mean half width of the 95 % interval of `pairs` normal differences (`paired.mean_interval`)."""
    if FEWEST_PAIRS <= pairs <= SIMULATED_PAIRS:
        return std * float(-_ends(pairs, LEVEL).mean())
    return std * float(special.stdtrit(pairs - 1, 0.975)) / sqrt(pairs)


def seeds_for_precision(std: float, half_width: float) -> int:
    """Return the smallest number of seeds, 2 or more, with an expected 95 % interval of at most +- `half_width`.

    `std` is that of the paired differences, in the unit of `half_width`.

    Raises:
        ValueError: if `std` is negative or `half_width` not above 0.
    """
    if std < 0 or not half_width > 0:
        raise ValueError(f"std >= 0 and half_width > 0 are needed, got {std} and {half_width}")
    pairs = max(2, int((1.95 * std / half_width) ** 2))  # the normal approximation is never too many
    while expected_half_width(std, pairs) > half_width:
        pairs += 1
    return pairs


def plans(spread: Spread, half_width: float) -> Iterator[Plan]:
    """Yield the plans of the procedure that reach +- `half_width`: for each number of searches the fewest seeds.

    From two searches on (with t on the means of repeats: estimands.effect_of_procedure) to one for each seed; plans of
    more seeds than `MOST_SEEDS` are left out. Nothing where the spread of choices is not known.
    """
    if spread.choice_std is None:
        return
    for searches in range(2, MOST_SEEDS + 1):
        fewest = next((n for n in range(searches, MOST_SEEDS + 1) if _width(spread, n, searches) <= half_width), None)
        if fewest is not None:
            yield Plan(fewest, searches, _width(spread, fewest, searches))
            if fewest == searches:  # more searches than seeds are of no use
                return


def _width(spread: Spread, seeds: int, searches: int) -> float:
    choice_std = spread.choice_std or 0.0
    if seeds == searches:
        return expected_half_width(hypot(spread.seed_std, choice_std), seeds)
    error = sqrt(choice_std**2 / searches + spread.seed_std**2 / seeds)
    return float(special.stdtrit(searches - 1, 0.975)) * error


def trials_for_gain(best_of: Sequence[float], gain: float) -> int | None:
    """Return after how many search trials twice as many make the expected error less than `gain` smaller.

    `best_of[k - 1]` is the expected error of the best of k trials (statistics.budget). None where the curve is too
    short.
    """
    known = len(best_of)
    return next((k for k in range(1, known // 2 + 1) if best_of[k - 1] - best_of[2 * k - 1] < gain), None)


@cache
def _ends(pairs: int, level: float) -> Vector:
    return lower_ends(np.random.default_rng(0).normal(size=(4000, pairs)), level)
