"""How good predictions are beyond their error, from those that were kept: nothing is trained for these tables."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from dks_study.analysis.predicted import REFUSED, Told
from dks_study.analysis.statistics.predictions import BINS, Array, agreement, class_errors, confusion
from dks_study.analysis.tables.grid import Cell, Grid, number

MOST_CLASSES = 20  # that a table shows, those that are wrong most often
NOTES = (
    f"Of the last epoch's `main` on the test images, mean ± standard deviation over n seeds. NLL: negative"
    f" log-likelihood, in nats. Brier: 0 to 2. ECE: expected calibration error, {BINS} bins of equally many images;"
    " above 0 by sampling alone. Miscalibration: root mean square, over seeds too, of the same distances with what"
    " sampling adds taken off (Kumar, Liang and Ma 2019); 0 where nothing is left. Refusing: the error on the rest"
    " when so many images, the least certain, are refused.",
    "Agreement: images on which two seeds say the same, mean over all pairs. Together: error of the mean of the"
    " probabilities of all seeds, as an ensemble, and of all classifiers of one network where their predictions were"
    " kept (`keep_predictions: all`).",
)


def quality(found: Mapping[str, Told]) -> pd.DataFrame:
    """Return the scores of every trial: row, seed, and the columns of `Told.scores`."""
    frames = [told.scores.rename_axis("seed").reset_index().assign(row=row) for row, told in found.items()]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["row", "seed"])
    return frame[["row", *(name for name in frame.columns if name != "row")]]


def quality_grid(found: Mapping[str, Told]) -> Grid:
    """Return what the rows of a study's table say, beyond their error, as a table; no row where nothing was kept."""
    branches = any("branches" in told.scores for told in found.values())
    refused = tuple(f"refusing {100 * share:.0f} % (%)" for share in REFUSED.values())
    header = ("arm", "n", "NLL", "Brier", "ECE (%)", "miscalibration (%)", *refused)
    header += ("agreement (%)", "seeds together (%)", *(["classifiers together (%)"] if branches else []))
    rows = tuple(_quality_row(row, told, branches) for row, told in found.items())
    return Grid("Predictions", header, rows, tuple(note.replace("`", "") for note in NOTES) if rows else ())


def _quality_row(row: str, told: Told, branches: bool) -> tuple[Cell, ...]:
    scores = told.scores
    means = {name: (float(column.mean()), float(column.std())) for name, column in scores.items()}
    # Of the mean, as it is only over many seeds that what sampling adds goes away: a root of each is above 0 by it.
    means["calibration"] = math.sqrt(max(0.0, means["calibration"][0])), math.nan
    digits = {"nll": 3, "brier": 3, "ece": 2, "calibration": 2, **dict.fromkeys(REFUSED, 2)}
    shown = [number(*means[name], digits=places) for name, places in digits.items()]
    agree = number(agreement(told.guesses.to_numpy()))
    last = [number(*means.get("branches", (math.nan, math.nan)))] if branches else []
    return (Cell(row), Cell(str(len(scores))), *shown, agree, number(told.together), *last)


def confused(told: Told) -> Array:
    """Return how often images of class i (row) are taken for class j (column), over all seeds: int64 [C, C]."""
    guesses = told.guesses.to_numpy()
    return confusion(guesses.ravel(), np.tile(told.labels, len(guesses)), told.classes)


def class_grid(found: Mapping[str, Told]) -> Grid:
    """Return the error of each class in each row of a study's table, and what it is most often taken for."""
    matrices = {row: confused(told) for row, told in found.items()}
    if not matrices:
        return Grid("Error by class", ("class",), ())
    errors = pd.DataFrame({row: class_errors(matrix) for row, matrix in matrices.items()})
    worst = errors.mean(axis=1).sort_values(ascending=False, kind="stable").index[:MOST_CLASSES]
    header = ("class", "images", *(text for row in matrices for text in (f"{row} (%)", "taken for")))
    images = {row: matrix.sum(axis=1) for row, matrix in matrices.items()}
    first = next(iter(found))
    rows = []
    for label in sorted(worst):
        cells = [Cell(str(label)), Cell(str(int(images[first][label]) // len(found[first].guesses)))]
        for row, matrix in matrices.items():
            cells += [number(float(errors[row][label]), digits=1), Cell(_taken_for(matrix, label))]
        rows.append(tuple(cells))
    few = f" Of {len(errors)} classes those that are wrong most often." if len(errors) > MOST_CLASSES else ""
    note = f"Mean over seeds; classes by number, from 0. Taken for: the wrong class that is said most often.{few}"
    return Grid("Error by class", header, tuple(rows), (note,))


def _taken_for(matrix: Array, label: int) -> str:
    """Return the class that a class is most often mistaken for, with the share of its images: 8 (3.1 %)."""
    others = matrix[label].copy()
    others[label] = 0
    if not others.any():
        return ""
    other = int(others.argmax())
    return f"{other} ({100 * others[other] / matrix[label].sum():.1f} %)"
