"""How good predictions are beyond their error: likelihood, calibration, classes, agreement, ensembles, refusal.

Shapes: N images, C classes, S predictors (seeds of an arm, or classifiers of a network). `log_p` is float64 [N, C], the
natural logarithm of probabilities; labels and guesses are integers [N] from 0; hits are bool [N]; confidence is [N] in
(0, 1], the largest probability. Errors and shares are percentages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import log_softmax, logsumexp

BINS = 15
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Calibration:
    """How far confidence is from accuracy, over bins of equally many images.

    Attributes:
        expected: mean distance, in percent: the expected calibration error. Sampling alone makes it larger than 0.
        squared: mean squared distance with what sampling adds to it taken off: 0 on average where confidence is right,
            and hence below 0 at times; in percent squared.
    """

    expected: float
    squared: float


@dataclass(frozen=True)
class Discordant:
    """Images that one of two predictors alone gets wrong, and the two-sided p of as many by chance (McNemar)."""

    first_wrong: int
    second_wrong: int
    p: float


def log_probabilities(logits: Array) -> Array:
    """Return the logarithm of the softmax of logits [..., C], in double precision."""
    found: Array = log_softmax(logits.astype(np.float64), axis=-1)
    return found


def ensemble(log_p: Array) -> Array:
    """Return the logarithm [N, C] of the mean of the probabilities of S predictors, log_p [S, N, C]."""
    found: Array = logsumexp(log_p, axis=0) - np.log(len(log_p))
    return found


def nll(log_p: Array, labels: Array) -> float:
    """Return the mean negative log-likelihood, in nats."""
    return float(-log_p[np.arange(len(labels)), labels].mean())


def brier(log_p: Array, labels: Array) -> float:
    """Return the Brier score: the mean squared distance to the truth, summed over classes, 0 to 2 (Brier 1950)."""
    away = np.exp(log_p)
    away[np.arange(len(labels)), labels] -= 1
    return float((away**2).sum(axis=1).mean())


def calibration(confidence: Array, hits: Array, bins: int = BINS) -> Calibration:
    """Return how far confidence and accuracy are apart, over `bins` bins of equally many images by their confidence.

    Without the correction a small test set seems badly calibrated whatever the network: of n images of a bin the
    accuracy a varies by a (1 - a) / n, of which a (1 - a) / (n - 1) is an unbiased estimate (Bröcker 2012; Ferro and
    Fricker 2012; as "debiased estimator" Kumar, Liang and Ma 2019, section 5). That of a bin of one image is left in.
    """
    expected = squared = 0.0
    for some in bins_of(confidence, bins):
        accuracy, share = float(hits[some].mean()), len(some) / len(hits)
        distance = accuracy - float(confidence[some].mean())
        expected += share * abs(distance)
        squared += share * (distance**2 - accuracy * (1 - accuracy) / max(1, len(some) - 1))
    return Calibration(100 * expected, 100**2 * squared)


def bins_of(confidence: Array, bins: int) -> list[Array]:
    """Return the positions of the images of each bin, the least certain first: equally many, to one image."""
    return np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(confidence)))


def confusion(guesses: Array, labels: Array, classes: int) -> Array:
    """Return how many images of class i (row) are taken for class j (column): int64 [C, C]."""
    pairs = np.bincount(labels.astype(np.int64) * classes + guesses, minlength=classes * classes)
    return pairs.reshape(classes, classes)


def class_errors(confused: Array) -> Array:
    """Return the error (%) of each class [C] from a confusion matrix; NaN where a class has no image."""
    images = confused.sum(axis=1)
    right = np.divide(confused.diagonal(), images, out=np.full(len(images), np.nan), where=images > 0)
    wrong: Array = 100 * (1 - right)
    return wrong


def agreement(guesses: Array) -> float:
    """Return on how many images (%) two predictors agree, mean over all pairs of S; guesses [S, N]. NaN: S = 1."""
    pairs = [(one == other).mean() for at, one in enumerate(guesses) for other in guesses[:at]]
    return 100 * float(np.mean(pairs)) if pairs else float("nan")


def mcnemar(first: Array, second: Array) -> Discordant:
    """Compare the hits of two predictors on the same images by the exact test (McNemar 1947): a fair coin's p."""
    wrong, right = int((~first & second).sum()), int((first & ~second).sum())
    p = float(stats.binomtest(wrong, wrong + right).pvalue) if wrong + right else 1.0
    return Discordant(wrong, right, p)


def refusing(confidence: Array, hits: Array, shares: Sequence[float]) -> list[float]:
    """Return the error (%) on the images that are left when the least certain `shares` (each in [0, 1)) are refused.

    Of equally certain images the later ones are refused first; the number refused is rounded down.
    """
    order = np.argsort(-confidence, kind="stable")
    kept = [len(order) - int(share * len(order) + 1e-9) for share in shares]
    return [100 * (1 - float(hits[order[:count]].mean())) for count in kept]
