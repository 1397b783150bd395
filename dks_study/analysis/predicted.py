"""What the predictions on record come to: each file is read once, and only what tables need is kept of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dks_study.analysis.rows import full_confirmations, table_rows
from dks_study.analysis.statistics.predictions import (
    Array,
    brier,
    calibration,
    ensemble,
    log_probabilities,
    nll,
    refusing,
)
from dks_study.spec.pairing import MAIN
from dks_study.study.predictions import Predictions
from dks_study.study.results import Results

REFUSED = {"refusing_10": 0.1, "refusing_20": 0.2}  # shares of the images, the least certain


@dataclass(frozen=True)
class Told:
    """What the trials of a row of the table, one for each of S seeds, say of N test images of C classes: `main` does.

    Attributes:
        labels: integers [N], the true ones.
        guesses: a row per seed, a column per image.
        confidence: the same of the largest probability, in (0, 1].
        scores: a row per seed; error (%), nll (nats), brier (0 to 2), ece (%), calibration (squared, %²), refusing_10
            and refusing_20 (error in % when so many are refused), and, where the predictions of several classifiers of
            the network were kept, branches: the error (%) of the mean of their probabilities.
        together: error (%) of the mean of the probabilities of all seeds.
        classes: C.
    """

    labels: Array
    guesses: pd.DataFrame
    confidence: pd.DataFrame
    scores: pd.DataFrame
    together: float
    classes: int

    @property
    def wrong(self) -> pd.DataFrame:
        """Is an image guessed wrong: a row per seed, a column per image."""
        return self.guesses != self.labels


def predicted(results: Results) -> Mapping[str, Told]:
    """Return what trials with predictions say, by row of the study's table.

    Rows without any are not there, nor are those whose seeds were tested on different images.
    """
    trials, found = full_confirmations(results), dict[str, Told]()
    for row in table_rows(results) if len(trials) else ():
        mine = trials[trials["row"] == row.name].sort_values("seed")
        read = zip(mine["seed"], map(results.predictions, mine["trial"]), strict=True)
        told = _told(((int(seed), each) for seed, each in read if each is not None))
        found |= {row.name: told} if told else {}
    return found


def _told(trials: Iterable[tuple[int, Predictions]]) -> Told | None:
    guesses, confidence = dict[int, Array](), dict[int, Array]()
    scores, total, labels = dict[int, dict[str, float]](), None, None
    for seed, each in trials:
        if labels is not None and not np.array_equal(labels, each.labels):
            return None  # several splits of a set whose test images are drawn by split_seed: no image has all seeds
        labels, log_p = each.labels, log_probabilities(each.logits[MAIN])
        total = log_p if total is None else np.logaddexp(total, log_p)  # one seed after another: they may be large
        guesses[seed], confidence[seed] = log_p.argmax(axis=1), np.exp(log_p.max(axis=1))
        scores[seed] = _scores(each, log_p)
    if total is None or labels is None:
        return None
    by_seed, sure, scored = (pd.DataFrame.from_dict(each, orient="index") for each in (guesses, confidence, scores))
    return Told(labels, by_seed, sure, scored, _error(total, labels), total.shape[1])


def _scores(trial: Predictions, log_p: Array) -> dict[str, float]:
    labels, confidence = trial.labels, np.exp(log_p.max(axis=1))
    hits = log_p.argmax(axis=1) == labels
    apart = calibration(confidence, hits)
    refused = dict(zip(REFUSED, refusing(confidence, hits, list(REFUSED.values())), strict=True))
    scores = {"error": _error(log_p, labels), "nll": nll(log_p, labels), "brier": brier(log_p, labels)}
    scores |= {"ece": apart.expected, "calibration": apart.squared, **refused}
    if len(trial.logits) > 1:
        every = np.stack([log_probabilities(logits) for logits in trial.logits.values()])
        scores["branches"] = _error(ensemble(every), labels)
    return scores


def _error(log_p: Array, labels: Array) -> float:
    return 100 * float((log_p.argmax(axis=1) != labels).mean())
