"""A third claim: of a difference *for new images of this kind*, where other test images would have been drawn, too.

The errors of arm and reference on image i after training with seed s differ by

    difference[s, i] = effect + seed[s] + image[i] + rest[s, i]

images crossed with seeds: the same images are looked at with every seed, so that more seeds do not average them away.
The claims of `estimands` hold the test images fixed; here the variance of the mean that comes from their draw is added,
as the analysis of variance of a crossed design has it: (MS_image - MS_rest) / (S N), at least 0.

Owen's pigeonhole bootstrap (Annals of Applied Statistics 1, 2007) needs no model but overestimates where `rest` is
large, as with errors of 0 or 1: for 8 seeds and 450 images its standard error was 1.01 to 1.3 times the true one where
that of the analysis of variance was 0.97 to 1.03 times (seven kinds of data, 1,500 draws of each). What the interval
covers: tests/analysis/test_images.py.
"""

from dataclasses import dataclass
from math import floor, sqrt

from dks_study.analysis.statistics.paired import Interval, t_ends, t_p
from dks_study.analysis.statistics.predictions import Array
from dks_study.study.sequential import Seen


@dataclass(frozen=True)
class DrawOfImages:
    """What the draw of N test images adds to the variance of a mean difference.

    Attributes:
        variance: added, 0 or more.
        squares: the squared mean squares of which it is the difference, each over its degrees of freedom.
    """

    variance: float
    squares: float

    @property
    def std(self) -> float:
        """Standard deviation of the mean difference between sets of as many test images."""
        return sqrt(self.variance)


def draw_of_images(differences: Array) -> DrawOfImages:
    """Return what the draw of the images adds, of differences [S, N] of two seeds and two images or more.

    Raises:
        ValueError: if there are fewer.
    """
    seeds, images = differences.shape
    if seeds < 2 or images < 2:
        raise ValueError(f"two seeds and two images or more are needed, got {seeds} and {images}")
    by_image, by_seed = differences.mean(axis=0), differences.mean(axis=1, keepdims=True)
    rest = differences - by_image - by_seed + differences.mean()
    of_rest = float((rest**2).sum()) / ((seeds - 1) * (images - 1) * seeds * images)
    of_images = float(by_image.var(ddof=1)) / images
    squares = of_images**2 / (images - 1) + of_rest**2 / ((seeds - 1) * (images - 1))
    return DrawOfImages(max(0.0, of_images - of_rest), squares if of_images > of_rest else 0.0)


def for_new_images(mean: float, claim: Interval, drawn: DrawOfImages, shares: tuple[float, ...] = ()) -> Interval:
    """Return the interval of a mean difference for new images: `claim` holds them fixed.

    That of t with the sum of both variances and Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946),
    rounded down, with bounds that allow for the looks at `shares` if there were any (see `sequential.levels`); never
    surer than `claim`, which says less.
    """
    variance = claim.standard_error**2 + drawn.variance
    squares = claim.standard_error**4 / claim.freedom + drawn.squares
    freedom = floor(variance**2 / squares * (1 + 1e-9)) if drawn.variance else claim.freedom
    error = sqrt(variance)
    if shares:
        seen = Seen(mean, error, freedom + 1, shares)
        (low, high), p = seen.ends, seen.p
    else:
        (low, high), p = t_ends(mean, error, freedom), t_p(mean, error, freedom)
    return Interval(min(low, claim.low), max(high, claim.high), max(p, claim.p), error, "t", freedom)
