"""How far a network's confidence can be trusted: error when the least certain images are refused, and calibration."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dks_study.analysis.plots.style import DOUBLE_COLUMN_IN, FAINT, blank, row_looks, styled
from dks_study.analysis.predicted import Told
from dks_study.analysis.rows import TUNED, table_rows
from dks_study.analysis.statistics.predictions import bins_of, refusing
from dks_study.study.results import Results

SHARES = [share / 20 for share in range(19)]  # refused: 0 to 90 %
BINS = 10


def refusal_curves(found: Mapping[str, Told]) -> pd.DataFrame:
    """Return the error on the images that are left, mean over seeds (%): row, refused (%), error."""
    lines = []
    for row, told in found.items():
        every = zip(told.confidence.to_numpy(), ~told.wrong.to_numpy(), strict=True)
        errors = np.mean([refusing(confidence, hits, SHARES) for confidence, hits in every], axis=0)
        pairs = zip(SHARES, errors, strict=True)
        lines += [{"row": row, "refused": 100 * share, "error": error} for share, error in pairs]
    return pd.DataFrame(lines)


def reliability(found: Mapping[str, Told]) -> pd.DataFrame:
    """Return the accuracy by confidence (%), all seeds in bins of equally many images: row, confidence, accuracy."""
    lines = []
    for row, told in found.items():
        confidence, hits = told.confidence.to_numpy().ravel(), ~told.wrong.to_numpy().ravel()
        for some in bins_of(confidence, BINS):
            lines.append({"row": row, "confidence": 100 * confidence[some].mean(), "accuracy": 100 * hits[some].mean()})
    return pd.DataFrame(lines)


def draw_certainty(results: Results, found: Mapping[str, Told]) -> Figure:
    """Draw both for the rows as tuned; of the right panel's diagonal confidence is the accuracy."""
    tuned = [row.name for row in table_rows(results) if row.choice == TUNED and row.name in found]
    shown = {row: found[row] for row in tuned}
    with styled():
        figure, (left, right) = blank(DOUBLE_COLUMN_IN, 2.7, columns=2)
        right.plot([0, 100], [0, 100], color=FAINT)
        for axes, frame in ((left, refusal_curves(shown)), (right, reliability(shown))):
            for row, mine in frame.groupby("row", sort=False):
                look, (_, x, y) = row_looks(results)[str(row)], frame.columns
                axes.plot(mine[x], mine[y], look.line, color=look.colour, marker=look.marker, ms=3, label=row)
        left.set(xlabel="images refused (%), the least certain first", ylabel="error on the rest (%)", ylim=(0, None))
        right.set(xlabel="confidence (%)", ylabel="accuracy (%)", xlim=(None, 100), ylim=(None, 100))
        left.legend()
    return figure
