"""For new images of this kind: mean squares by hand, and a simulation of what the interval covers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dks_study.analysis.statistics.images import DrawOfImages, draw_of_images, for_new_images
from dks_study.analysis.statistics.paired import Interval, mean_interval
from dks_study.study.sequential import seen

SEEDS, IMAGES, DRAWS = 8, 450, 1500
# Spreads of what makes an image wrong: of the image in both arms, in one, of the seed, of both together; the effect.
KINDS = {
    "usual": (1.5, 0.5, 0.1, 0.6, 0.15),
    "images alike": (1.5, 0.0, 0.1, 0.6, 0.15),
    "no effect": (1.5, 0.5, 0.1, 0.6, 0.0),
    "seeds unlike": (1.5, 0.5, 0.3, 0.6, 0.15),
    "images unlike": (1.5, 1.2, 0.1, 0.6, 0.15),
}


def test_mean_squares_by_hand():
    # Rows are seeds. Means 2, 4 of the seeds, 1, 3, 5 of the images, 3 of all; rest 0, 0, 0 and 0, 0, 0 but for +-1:
    differences = np.array([[1.0, 2, 3], [1, 4, 7]])
    # By image 1, 3, 5: variance 4. Rest: +1 0 -1 and -1 0 +1: sum of squares 4 over (1 x 2) = 2.
    # of images 4 / 3, of rest 2 / (2 x 3) = 1 / 3: a variance of 1.
    found = draw_of_images(differences)
    assert found.variance == pytest.approx(1)
    assert found.squares == pytest.approx((4 / 3) ** 2 / 2 + (1 / 3) ** 2 / 2)
    claim = mean_interval(differences.mean(axis=1))  # 2 and 4: standard error 1, one degree of freedom
    whole = for_new_images(3.0, claim, found)
    assert whole.standard_error == pytest.approx(2**0.5)
    assert whole.freedom == int(4 / (1 + 8 / 9 + 1 / 18)) == 2
    half = stats.t.ppf(0.975, 2) * 2**0.5
    assert half < stats.t.ppf(0.975, 1), "more certain than the claim, which says less: it is not taken"
    assert (whole.low, whole.high, whole.p) == (claim.low, claim.high, claim.p)
    alone = for_new_images(3.0, replace(claim, low=3.0, high=3.0, p=0.0), found)
    assert (alone.low, alone.high) == pytest.approx((3 - half, 3 + half))
    assert alone.p == pytest.approx(2 * stats.t.sf(3 / 2**0.5, 2))


@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_what_images_do_not_add_to_is_the_claim(seeds):
    for draw in np.random.default_rng(seeds).normal(size=(200, seeds)):
        claim = mean_interval(draw)
        whole = for_new_images(float(draw.mean()), claim, DrawOfImages(0.0, 0.0))
        assert whole.freedom == claim.freedom == seeds - 1
        assert whole.low <= claim.low < claim.high <= whole.high
        assert whole.p >= claim.p


def test_looks_make_it_wider():
    random = np.random.default_rng(0)
    differences = 2 + random.normal(0, 6, size=40) + random.normal(0, 3, size=(6, 40))  # images spread it more
    shares, drawn = (0.25, 0.5), draw_of_images(differences)
    seen_at = seen(differences.mean(axis=1).tolist(), shares)
    claim = Interval(*seen_at.ends, seen_at.p, seen_at.standard_error, "looks", 5)
    once, looked = (for_new_images(float(differences.mean()), claim, drawn, at) for at in ((), shares))
    assert looked.high - looked.low > claim.high - claim.low
    assert looked.low < once.low
    assert looked.p > once.p


def test_images_that_do_not_differ_add_nothing():
    differences = np.array([[1.0, -1, 1, -1], [-1, 1, -1, 1], [1, 1, -1, -1]])
    found = draw_of_images(differences)
    assert (found.variance, found.squares, found.std) == (0, 0, 0)
    claim = mean_interval(np.array([1.0, 2, 4]))
    assert for_new_images(7 / 3, claim, found).freedom == claim.freedom == 2


def test_arms_that_never_differ_have_no_width_but_with_few_seeds():
    for seeds, width in ((3, np.inf), (6, 0)):
        claim = mean_interval(np.zeros(seeds))
        whole = for_new_images(0.0, claim, draw_of_images(np.zeros((seeds, 5))))
        assert (whole.high - whole.low, whole.p) == (width, 1)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_one_seed_or_one_image_says_nothing(shape):
    with pytest.raises(ValueError, match="two seeds and two images or more are needed"):
        draw_of_images(np.zeros(shape))


def drawn(kind, random):
    """Return differences [S, N] of errors in points, and what they are on average over images and seeds."""
    both, image, seed, rest, effect = KINDS[kind]
    hard, wrong, errors = both * random.standard_normal(IMAGES), [], []
    for shift in (0.0, -effect):
        own = image * random.standard_normal(IMAGES) + seed * random.standard_normal((SEEDS, 1))
        wrong.append(-2.2 + shift + hard + own + rest * random.standard_normal((SEEDS, IMAGES)) > 0)
        errors.append(stats.norm.cdf((-2.2 + shift) / np.sqrt(both**2 + image**2 + seed**2 + rest**2)))
    return 100 * (wrong[1].astype(float) - wrong[0]), 100 * (errors[1] - errors[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_covers_what_it_says(kind):
    random, covered, of_seeds = np.random.default_rng(1), 0, 0
    for _ in range(DRAWS):
        differences, truth = drawn(kind, random)
        claim = mean_interval(differences.mean(axis=1))
        whole = for_new_images(float(differences.mean()), claim, draw_of_images(differences))
        covered += whole.low <= truth <= whole.high
        of_seeds += claim.low <= truth <= claim.high
    assert 94 <= round(100 * covered / DRAWS) <= 96, "the numbers of docs/guides/predictions.md"
    if kind == "images unlike":
        assert round(100 * of_seeds / DRAWS) == 70, "which is why it is needed"
