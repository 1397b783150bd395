"""Where a method helps: its effect in rows of several studies, against what differs from one to the next.

Studies are listed, never pooled: every line is a comparison inside one study, with that study's own reference.
"""

from collections.abc import Mapping

import pandas as pd

from dks_study.analysis.tables.comparisons import comparisons, errors_by_seed, interval_text
from dks_study.analysis.tables.grid import Cell, Grid, number, p_value
from dks_study.study.results import Results, ResultsError

DRAWN = "drawn settings"  # beside the estimands of a comparison: what a search trial draws, on validation images
NOTE = (
    "Points of test error of `main` after the last epoch, paired by seed; negative is better. Interval of the"
    " procedure: with other searches and other seeds. Of the settings: with other seeds, nothing chosen. Of drawn"
    " settings: the expected lowest validation error of so many search trials, one seed each; n counts searches. p is"
    " adjusted by Holm inside each study."
)


def effects(results: Results, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return a line for each row of a study's table that `labels` names, in its order.

    Columns: label (of the row, as `labels` says), n, base and arm (mean test errors, %), mean (arm minus base, points)
    with its 95 % interval low and high, of ("procedure" or "settings", what the interval is of), p_holm.

    Raises:
        ResultsError: if the study's table does not compare one of these rows with another.
    """
    frame, errors, lines = comparisons(results), errors_by_seed(results), []
    for row, label in labels.items():
        found = frame[frame["arm"] == row] if len(frame) else frame
        if not len(found):
            raise ResultsError(f"{results.study.name}: holds no comparison of {row}")
        line = found.iloc[0]
        both = errors[[line["base"], row]].dropna()
        # A frame's means may differ in their last bits from those of its columns, which other tables show.
        means = {"base": both[line["base"]].mean(), "arm": both[row].mean()}
        known = {"label": label, "n": line["n"], **means, "of": line["estimand"]}
        lines.append(known | {key: line[key] for key in ("mean", "low", "high", "p_holm")})
    return pd.DataFrame(lines)


def where_grid(panels: Mapping[str, pd.DataFrame], arm: str, base: str) -> Grid:
    """Return `effects` by what they stand against as a table; `arm` and `base` name what is compared."""
    header = ("against", "at", "n", f"{base} (%)", f"{arm} (%)", "difference", "95 % interval", "of the", "p (Holm)")
    rows = tuple(
        (
            Cell("" if at else against),
            *(Cell(str(line[key])) for key in ("label", "n")),
            *(number(line[key]) for key in ("base", "arm")),
            number(line["mean"], signed=True),
            Cell(interval_text(line["low"], line["high"])),
            Cell(line["of"]),
            p_value(line["p_holm"]),
        )
        for against, frame in panels.items()
        for at, line in enumerate(frame.to_dict("records"))
    )
    return Grid(f"{arm} minus {base}", header, rows, (NOTE,))
