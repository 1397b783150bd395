"""What the intervals and tests of the tables hold: how often a 95 % interval covers the truth, how often Holm errs.

Made-up differences with a known mean, normal or skewed like a gamma distribution of skewness 1, which is what the
paired differences of small networks look like (see --skewness). Other intervals stand beside ours for comparison.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from dks_study.analysis.kept import SHIPPED
from dks_study.analysis.statistics.estimands import effect_of_procedure, effect_of_settings
from dks_study.analysis.statistics.paired import holm, mean_interval, paired_difference
from dks_study.analysis.statistics.signflip import Vector
from dks_study.analysis.tables.comparisons import comparisons, errors_by_seed
from dks_study.study.results import load_results

Shape = Literal["normal", "skewed"]
SKEWNESS = 1.0
SEEDS = (6, 8, 10, 20)
REPEATS = ((6, 2), (8, 2), (8, 3), (8, 4), (10, 3), (10, 5), (20, 4), (10, 10))  # seeds, searches
SEED_STD = 1.5  # points, of a difference
# Points by which choices of a reference and four arms spread: the pilot's, for 16 trials and 4 finalists on 4 seeds.
CHOICE_STDS = (0.53, 0.19, 0.69, 0.20, 0.30)
Ends = Callable[[Vector], tuple[float, float]]


def draw(shape: Shape, random: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Return numbers of mean 0 and standard deviation 1."""
    if shape == "normal":
        return random.normal(size=size)
    form = (2 / SKEWNESS) ** 2
    return (random.gamma(form, size=size) - form) / form**0.5


def ours(values: Vector) -> tuple[float, float]:
    """Return the interval of the tables."""
    found = mean_interval(values)
    return found.low, found.high


def student(values: Vector) -> tuple[float, float]:
    """Return the t interval."""
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    return float(low), float(high)


def bca(values: Vector) -> tuple[float, float]:
    """Return the BCa bootstrap interval (Efron 1987), which the tables had until November 2026."""
    found = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=1999, rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def coverage(ends: Ends, seeds: int, shape: Shape, studies: int) -> tuple[float, float]:
    """Return in what share of `studies` the interval held the mean, and its mean width in standard deviations."""
    random = np.random.default_rng(seeds)
    found = np.array([ends(values) for values in draw(shape, random, (studies, seeds))])
    return float(np.mean((found[:, 0] <= 0) & (found[:, 1] >= 0))), float(np.mean(found[:, 1] - found[:, 0]))


def repeated_coverage(
    seeds: int, searches: int, shape: Shape, studies: int, choice_stds: Sequence[float] = CHOICE_STDS
) -> dict[str, tuple[float, float, float]]:
    """Return for each estimand the lowest and the highest coverage of an arm, and the mean width in points.

    Arms and reference (the first of `choice_stds`) share the seeds; the p-th seed belongs to search p % searches.
    """
    random = np.random.default_rng(100 * seeds + searches)
    repeats = np.arange(seeds) % searches
    choices = np.stack([std * draw(shape, random, (studies, searches)) for std in choice_stds])
    errors = SEED_STD / 2**0.5 * np.stack([draw(shape, random, (studies, seeds)) for _ in choice_stds])
    errors[0] = SEED_STD / 2**0.5 * random.normal(size=(studies, seeds))  # else the skewness cancels in a difference
    chosen = (choices[1:] - choices[:1])[:, :, repeats]
    differences = chosen + errors[1:] - errors[:1]
    found: dict[str, tuple[float, float, float]] = {}
    for name, effect in (("settings", effect_of_settings), ("procedure", effect_of_procedure)):
        truth = chosen.mean(axis=2) if name == "settings" else np.zeros(chosen.shape[:2])
        effects = [[effect(values, repeats) for values in arm] for arm in differences]
        if effects[0][0] is None:
            continue
        ends = np.array([[(one.low, one.high) for one in arm if one] for arm in effects])
        held = ((ends[..., 0] <= truth) & (truth <= ends[..., 1])).mean(axis=1)
        found[name] = float(held.min()), float(held.max()), float(np.mean(ends[..., 1] - ends[..., 0]))
    return found


def family_error(seeds: int, shape: Shape, studies: int, arms: int = 4) -> float:
    """Return in what share of `studies` without any effect Holm's method finds one among `arms` against a reference."""
    random = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(studies):
        common, reference = random.normal(size=seeds), random.normal(size=seeds)
        errors = [common + own for own in draw(shape, random, (arms, seeds))]
        found = [paired_difference(list(each), list(common + reference)).p for each in errors]
        wrong += min(holm(found)) < 0.05
    return wrong / studies


def kept_skewness() -> tuple[float, float, int]:
    """Return of the kept studies' paired differences the mean absolute skewness, that of normal ones, and how many."""
    found, sizes = [], []
    for path in sorted(SHIPPED.glob("*/trials.parquet")):
        results = load_results(path.parent)
        errors = errors_by_seed(results)
        for line in comparisons(results).to_dict("records"):
            each = (errors[line["arm"]] - errors[line["base"]]).dropna()
            found.append(abs(stats.skew(each, bias=False)))
            sizes.append(len(each))
    random = np.random.default_rng(0)
    normal = [np.abs(stats.skew(random.normal(size=(2000, n)), axis=1, bias=False)).mean() for n in sizes]
    return float(np.mean(found)), float(np.mean(normal)), len(found)


def main() -> None:
    """Print the tables of interval_coverage.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=10_000, help="made-up studies for a number (20 seeds: a fifth)")
    parser.add_argument("--skewness", action="store_true", help="print the skewness of the kept studies, nothing else")
    options = parser.parse_args()
    if options.skewness:
        kept, normal, count = kept_skewness()
        print(f"kept studies: mean |skewness| {kept:.2f}, of normal differences {normal:.2f}, {count} comparisons")
        return
    print("| seeds | shape | ours | t | BCa |\n|---|---|---|---|---|")
    for seeds in SEEDS:
        studies = options.studies // (5 if seeds == 20 else 1)
        for shape in ("normal", "skewed"):
            sides = [coverage(ours, seeds, shape, studies), coverage(student, seeds, shape, studies)]
            sides.append(coverage(bca, seeds, shape, studies // 10))
            print(f"| {seeds} | {shape} | {' | '.join(f'{held:.3f} ({width:.2f})' for held, width in sides)} |")
    print("\n| seeds, searches | shape | of the settings | of the procedure |\n|---|---|---|---|")
    for seeds, searches in REPEATS:
        for shape in ("normal", "skewed"):
            found = repeated_coverage(seeds, searches, shape, options.studies // 5)
            texts = [
                f"{found[name][0]:.3f} to {found[name][1]:.3f} ({found[name][2]:.1f})" if name in found else ""
                for name in ("settings", "procedure")
            ]
            print(f"| {seeds}, {searches} | {shape} | {' | '.join(texts)} |")
    print("\n| seeds | normal | skewed |\n|---|---|---|")
    for seeds in (8, 10):
        wrong = [family_error(seeds, shape, options.studies) for shape in ("normal", "skewed")]
        print(f"| {seeds} | {' | '.join(f'{share:.4f}' for share in wrong)} |")


if __name__ == "__main__":
    main()
