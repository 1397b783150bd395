"""Growing without cheating: what candidates for looking again and again hold, in made-up studies.

A study looks after 5, 6, ..., 24 report seeds: 20 looks. Arms share the seeds and a reference; each is compared with it
by its paired differences, and Holm's method adjusts over the arms. An arm that is decided stays so. Candidates:

    naive             Student's t test anew at every look
    O'Brien-Fleming   group-sequential bounds, spending like theirs (dks_study.study.sequential)
    Pocock            the same, spending like his
    e-process         the mixture of t likelihoods over effects of one standard deviation's spread (Rouder et al. 2009;
                      its inverse is an always-valid p: Wang and Ramdas, "Anytime-valid t-tests", 2024)
    fixed             Student's t test once, with all 24 seeds: what power is measured against

Differences are normal, or skewed: those of arms like gamma variables of skewness 1, less a normal reference
(`arms`), or, for a single arm, a difference of skewness 1 itself (`difference`), with the long tail on either side.
Errors of few test images come in steps, so that differences tie: normal ones are rounded to them (`steps`).
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from interval_coverage import draw
from scipy import special

from dks_study.spec.table import LEVEL
from dks_study.study.sequential import SPENT, Spending, levels, obrien_fleming, pocock

FIRST, MOST = 5, 24
LOOKS = tuple(range(FIRST, MOST + 1))
FIXED = (MOST,)
SEARCHES = (
    (*range(2, 9),),
    (*range(3, 9),),
    (4, 6, 8),
    (*range(4, 13),),
    (*range(4, 25, 2),),
)  # looks by whole searches
STEPS = (0.15, 0.5)  # standard deviations: as with 450 test images on digits, and with 100
TIES = ((*range(2, 13, 2),), (*range(2, 25, 2),), (*range(3, 25),), LOOKS)  # looks at differences that tie
FEW = ((*range(2, 5),), (*range(3, 7),))  # with fewer searches in all than such a study may have
SEEDS_OF_SEARCH, LUCK = 2, 0.7  # and the standard deviation of the luck of a search, where that of a seed is 1
OTHERS = ((*range(3, 9),), (*range(4, 13),), (8, 12, 16, 20, 24), (*range(8, 49, 2),))  # other studies' looks
Valid = Callable[[np.ndarray, int, float], np.ndarray]  # (t [...], look, level) -> told from 0 at that level


def naive(t: np.ndarray, seeds: int, level: float) -> np.ndarray:
    """Say what Student's t test rejects."""
    return _p(t, seeds) < level


def bounded(
    t: np.ndarray, seeds: int, level: float, spend: Spending = obrien_fleming, looks: tuple[int, ...] = LOOKS
) -> np.ndarray:
    """Say what group-sequential bounds reject at this look, half of the level on either side (see `SPENT`)."""
    shares = tuple(n / looks[-1] for n in looks)
    return _p(t, seeds) <= 2 * levels(shares, SPENT * level / 2, spend)[looks.index(seeds)]


def mixture(t: np.ndarray, seeds: int, level: float) -> np.ndarray:
    """Say where the likelihood ratio of effects N(0, 1), in standard deviations, against none is 1 / level or more."""
    freedom, wide = seeds - 1, 1 + seeds
    ratio = ((1 + t**2 / freedom) / (1 + t**2 / (freedom * wide))) ** (seeds / 2) / wide**0.5
    told: np.ndarray = ratio >= 1 / level
    return told


SHAPES = (  # name, shape and the side of the long tail
    ("normal", "normal", 1),
    ("skewed arms, long tail up", "arms", 1),
    ("skewed arms, long tail down", "arms", -1),
    ("skewness 1", "difference", 1),
)
CANDIDATES: dict[str, Valid] = {
    "naive": naive,
    "O'Brien-Fleming": bounded,
    "Pocock": partial(bounded, spend=pocock),
    "e-process": mixture,
}


def _p(t: np.ndarray, seeds: int) -> np.ndarray:
    two_sided: np.ndarray = 2 * special.stdtr(seeds - 1, -np.abs(t))
    return np.where(np.isinf(t), 2 * 0.5**seeds, np.where(np.isnan(t), 1.0, two_sided))  # as `sequential.one_sided_p`


def _t(differences: np.ndarray, seeds: int) -> np.ndarray:
    seen = differences[..., :seeds]
    spread = np.where(np.ptp(seen, axis=-1) > 1e-9, seen.std(axis=-1, ddof=1), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t: np.ndarray = seen.mean(axis=-1) / (spread / seeds**0.5)
    return t


def decided_at(differences: np.ndarray, valid: Valid, looks: Sequence[int] = LOOKS) -> np.ndarray:
    """Return after how many seeds each arm is told from the reference, 0: never; differences [studies, arms, seeds].

    Holm's method: with r arms told, those left are tested at the level over the number left.
    """
    at = np.zeros(differences.shape[:2], dtype=int)
    arms = differences.shape[1]
    for seeds in looks:
        t = _t(differences, seeds)
        for _ in range(arms):
            told = np.zeros_like(at, dtype=bool)
            for left in range(1, arms + 1):
                rows = (at == 0).sum(axis=1) == left
                told[rows] = valid(t[rows], seeds, LEVEL / left)
            new = told & (at == 0)
            at[new] = seeds
            if not new.any():
                break
    return at


def arms_of(
    shape: str,
    studies: int,
    effects: Sequence[float],
    random: np.random.Generator,
    side: int = 1,
    seeds: int = MOST,
) -> np.ndarray:
    """Return differences [studies, arms, seeds] to a shared reference, of standard deviation 1, with these means."""
    size = (studies, len(effects), seeds)
    if shape == "difference":
        noise = side * draw("skewed", random, size)
    else:
        own = side * draw("skewed" if shape == "arms" else "normal", random, size)
        noise = (own - random.normal(size=(studies, 1, seeds))) / 2**0.5
    return noise + np.asarray(effects)[:, None]


def means_of_searches(
    shape: str, studies: int, effects: Sequence[float], random: np.random.Generator, side: int, searches: int
) -> np.ndarray:
    """Return means by search [studies, arms, searches] of differences that seeds and searches spread, the latter by the
    luck of arm and reference; effects are in standard deviations of such a mean.
    """
    seeds = arms_of(shape, studies, [0.0] * len(effects), random, side, searches * SEEDS_OF_SEARCH)
    means = seeds.reshape(studies, len(effects), searches, SEEDS_OF_SEARCH).mean(axis=-1)
    luck = arms_of("normal", studies, [0.0] * len(effects), random, side, searches)
    spread = (1 / SEEDS_OF_SEARCH + LUCK**2) ** 0.5
    return means + LUCK * luck + spread * np.asarray(effects)[:, None]


def of_searches(looks: tuple[int, ...], arms: int, studies: int, shape: str, side: int) -> float:
    """Return what `family_error` does where what is independent is a search with its seeds."""
    random, rule = np.random.default_rng(arms + 20), partial(bounded, looks=looks)
    means = means_of_searches(shape, studies, [0.0] * arms, random, side, looks[-1])
    return float((decided_at(means, rule, looks) > 0).any(axis=1).mean())


def power_of_searches(looks: tuple[int, ...], effects: Sequence[float], studies: int) -> tuple[float, float, float]:
    """Return in what share of arms an effect is found with all searches at once, with looks, and after how many."""
    means = means_of_searches("normal", studies, effects, np.random.default_rng(2), 1, looks[-1])
    fixed, at = (decided_at(means, *rule) for rule in ((naive, looks[-1:]), (partial(bounded, looks=looks), looks)))
    return float((fixed > 0).mean()), float((at > 0).mean()), float(np.where(at > 0, at, looks[-1]).mean())


def family_error(
    valid: Valid, shape: str, arms: int, studies: int, side: int = 1, looks: Sequence[int] = LOOKS
) -> float:
    """Return in what share of studies without any effect some arm is told from the reference."""
    random = np.random.default_rng(arms + 10)
    differences = arms_of(shape, studies, [0.0] * arms, random, side, looks[-1])
    return float((decided_at(differences, valid, looks) > 0).any(axis=1).mean())


def of_steps(looks: tuple[int, ...], step: float, arms: int, studies: int) -> float:
    """Return what `family_error` does where errors come in steps of so many standard deviations of a difference."""
    exact = arms_of("normal", studies, [0.0] * arms, np.random.default_rng(arms + 30), seeds=looks[-1])
    rule = partial(bounded, looks=looks)
    return float((decided_at(step * np.round(exact / step), rule, looks) > 0).any(axis=1).mean())


def power(
    valid: Valid, effects: Sequence[float], studies: int, looks: Sequence[int] = LOOKS, shape: str = "normal"
) -> tuple[float, float]:
    """Return the share of arms with an effect that are found, and with how many seeds they end in the mean."""
    random = np.random.default_rng(1)
    real = [at for at, effect in enumerate(effects) if effect]
    at = decided_at(arms_of(shape, studies, effects, random), valid, looks)[:, real]
    return float((at > 0).mean()), float(np.where(at > 0, at, MOST).mean())


def main() -> None:
    """Print the tables of looking.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000, help="made-up studies for a number")
    studies = parser.parse_args().studies
    print("| no effect in | differences | " + " | ".join(CANDIDATES) + " |\n|---|---|" + "---|" * len(CANDIDATES))
    for arms in (1, 4):
        for name, shape, side in SHAPES:
            found = [family_error(valid, shape, arms, studies, side) for valid in CANDIDATES.values()]
            print(f"| {arms} | {name} | {' | '.join(f'{share:.4f}' for share in found)} |")
    print("\n| seeds of the looks | differences | 1 arm | 4 arms |\n|---|---|---|---|")
    for looks in OTHERS:
        for name, shape, side in SHAPES[:3]:
            rule = partial(bounded, looks=looks)
            found = [family_error(rule, shape, arms, studies, side, looks) for arms in (1, 4)]
            texts = " | ".join(f"{share:.4f}" for share in found)
            print(f"| {looks[0]}, {looks[1]}, ... {looks[-1]} | {name} | {texts} |")
    print("\n| effects (standard deviations) | fixed | " + " | ".join(list(CANDIDATES)[1:]) + " |")
    print("|---|---|" + "---|" * (len(CANDIDATES) - 1))
    for effects in ((0.6,), (0.7, 0, 0, 0), (0.7,) * 4, (1.0, 0, 0, 0), (1.5, 0, 0, 0)):
        fixed = power(naive, effects, studies, FIXED)[0]
        found = [power(valid, effects, studies) for name, valid in CANDIDATES.items() if name != "naive"]
        texts = [f"{share:.3f} ({share / fixed:.2f} of it; n = {seeds:.1f})" for share, seeds in found]
        print(f"| {', '.join(f'{each:g}' for each in effects)} | {fixed:.3f} | {' | '.join(texts)} |")
    print("\n| seeds of the looks | steps (standard deviations) | 1 arm | 4 arms |\n|---|---|---|---|")
    for looks in TIES:
        for step in STEPS:
            texts = " | ".join(f"{of_steps(looks, step, arms, studies):.4f}" for arms in (1, 4))
            print(f"| {looks[0]}, {looks[1]}, ... {looks[-1]} | {step:g} | {texts} |")
    _print_searches(studies)


def _print_searches(studies: int) -> None:
    print("\n| searches of the looks | differences | 1 arm | 4 arms |\n|---|---|---|---|")
    for looks in (*SEARCHES, *FEW):
        for name, shape, side in SHAPES[:3]:
            texts = " | ".join(f"{of_searches(looks, arms, studies, shape, side):.4f}" for arms in (1, 4))
            print(f"| {', '.join(map(str, looks))} | {name} | {texts} |")
    print("\n| searches of the looks | effects | fixed | O'Brien-Fleming |\n|---|---|---|---|")
    for looks in (*SEARCHES, *FEW):
        for effect in (1.0, 1.25):
            for arms in (1, 4):
                fixed, found, n = power_of_searches(looks, (effect,) * arms, studies)
                text = f"{found:.3f} ({found / fixed:.2f} of it; n = {n:.1f})"
                print(f"| {', '.join(map(str, looks))} | {', '.join([f'{effect:g}'] * arms)} | {fixed:.3f} | {text} |")


if __name__ == "__main__":
    main()
