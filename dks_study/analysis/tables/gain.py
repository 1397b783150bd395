"""What a gain is made of: supervision, regularisation, knowledge; and beside it size, compute and early stopping.

    in all          method - baseline = supervision + regularisation + knowledge
    supervision     deep supervision - baseline
    regularisation  placebo - deep supervision
    knowledge       method - placebo
    parameters      a wider baseline, as large as the method in training - baseline
    compute         the baseline trained as long as the method costs - baseline
    early stopping  the baseline at the epoch that validation chose - baseline after the last epoch

Each is a mean of differences paired by seed, with interval and p as the table's comparisons have them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dks_study.analysis.controls import Controls, controls
from dks_study.analysis.rows import TUNED, WRITTEN, full_confirmations, table_rows
from dks_study.analysis.statistics.paired import holm
from dks_study.analysis.tables.comparisons import (
    CHOSEN,
    can_compare,
    effect_of,
    errors_by_seed,
    interval_text,
    repeats_by_seed,
)
from dks_study.analysis.tables.grid import Cell, Grid, number, p_value
from dks_study.spec.study import StudySpec
from dks_study.study.results import Results

IN_ALL, SUPERVISION, REGULARISATION, KNOWLEDGE = "in all", "supervision", "regularisation", "knowledge"
PARAMETERS, COMPUTE, STOPPING = "parameters", "compute", "early stopping"
BESIDE = (PARAMETERS, COMPUTE, STOPPING)  # no parts of the gain
AS_MANY = 0.1  # parameters in training may differ by this share of the method's
NOTES = (
    "Points of test error of `main`, paired by seed; negative is better. Supervision: deep supervision minus baseline."
    " Regularisation: a placebo, of which branches, pairs and schedule are the method's and what they teach is not,"
    " minus deep supervision. Knowledge: the method minus the placebo. With any placebo these three add up to what is"
    " gained in all, where no arm has lost a seed.",
    "Parameters: a wider baseline that trains as many parameters as the method, within a tenth, minus baseline."
    " Compute: the baseline trained as long as the method costs, or takes, minus baseline. Early stopping: the baseline"
    " at the epoch that validation chose, minus the baseline after the last epoch. None of them is a part of the gain.",
    "Interval and p as in the comparisons; Holm: over the lines of one method, as tuned or as written.",
)


@dataclass(frozen=True)
class _Step:
    """A line before it is computed: the difference of two columns of errors."""

    step: str
    arm: str
    treated: "pd.Series[float]"
    base: "pd.Series[float]"
    of: str
    minus: str


def gains(results: Results) -> pd.DataFrame:
    """Return what the gain of each method with controls is made of, a line for each step; empty where there is none.

    Columns, in points of error: method, baseline (arms), choice, step, arm (that the step is named after: of knowledge
    the placebo), of and minus (rows of the table: of what the latter is taken from), n, level (mean error of `of`),
    mean, std, estimand, low, high, p, p_holm.
    """
    errors, chosen, repeats = errors_by_seed(results), errors_by_seed(results, CHOSEN), repeats_by_seed(results)
    names = {(row.arm, row.choice): row.name for row in reversed(table_rows(results))}  # of a front the first
    lines = []
    for found in controls(results.study):
        for choice in (TUNED, WRITTEN):
            rows = {arm: name for (arm, of), name in names.items() if of == choice and name in errors}
            groups = repeats if choice == TUNED else repeats * 0  # nothing was chosen for the arms as written
            every = _steps(found, rows, errors, chosen, _as_large(results, found, rows))
            steps = [line for step in every if (line := _line(results.study, step, groups))]
            adjusted = holm([line["p"] for line in steps])
            known = {"method": found.method, "baseline": found.baseline, "choice": choice}
            lines += [{**known, **line, "p_holm": p} for line, p in zip(steps, adjusted, strict=True)]
    return pd.DataFrame(lines)


def _as_large(results: Results, found: Controls, rows: Mapping[str, str]) -> list[str]:
    """Return the resized baselines that train more parameters than the baseline, and as many as the method."""
    trials = full_confirmations(results)
    if not len(trials):
        return []
    counted = trials.groupby("row")["cost/params_train"].max()  # of what several searches chose the largest
    count = {arm: counted[row] for arm, row in rows.items() if row in counted}
    if found.method not in count or found.baseline not in count:
        return []
    larger = (arm for arm in found.resized if count.get(arm, 0) > count[found.baseline])
    return [arm for arm in larger if abs(count[arm] - count[found.method]) <= AS_MANY * count[found.method]]


def _steps(
    found: Controls, rows: Mapping[str, str], errors: pd.DataFrame, chosen: pd.DataFrame, as_large: list[str]
) -> Iterator[_Step]:
    pairs = [(IN_ALL, found.method, found.baseline), (SUPERVISION, found.ds, found.baseline)]
    for placebo in found.placebos:
        pairs += [(REGULARISATION, placebo, found.ds), (KNOWLEDGE, found.method, placebo)]
    pairs += [(PARAMETERS, arm, found.baseline) for arm in as_large]
    pairs += [(COMPUTE, arm, found.baseline) for arm in found.matched]
    for step, one, other in pairs:
        if one in rows and other in rows:
            yield _Step(
                step,
                other if step == KNOWLEDGE else one,
                errors[rows[one]],
                errors[rows[other]],
                rows[one],
                rows[other],
            )
    base = rows.get(found.baseline)
    if base is not None and base in chosen:
        yield _Step(STOPPING, found.baseline, chosen[base], errors[base], f"{base}, epoch chosen", base)


def _line(study: StudySpec, step: _Step, groups: "pd.Series[int]") -> dict[str, Any] | None:
    pairs = pd.concat([step.treated, step.base], axis=1, keys=["of", "minus"]).dropna()
    if not can_compare(study, pairs):
        return None
    differences = pairs["of"] - pairs["minus"]
    found = effect_of(study, differences, groups[pairs.index].tolist(), (step.of, step.minus))
    return {
        **{
            "step": step.step,
            "arm": step.arm,
            "of": step.of,
            "minus": step.minus,
            "n": len(pairs),
            "level": pairs["of"].mean(),
        },
        **{"mean": float(np.mean(differences)), "std": float(np.std(differences, ddof=1)), "estimand": found.estimand},
        **{key: getattr(found.claim, key) for key in ("low", "high", "p")},
    }


def gain_grid(results: Results) -> Grid:
    """Return `gains` as a table: a rule above each method, as tuned and as written; no row where there is none."""
    frame = gains(results)
    header = ("made of", "difference of", "n", "points", "of the", "95 % interval", "p", "p (Holm)")
    title = "What the gain is made of"
    if not len(frame):
        return Grid(title, header, ())
    rows = tuple(
        (
            Cell(row["step"]),
            Cell(f"{row['of']} − {row['minus']}"),
            Cell(str(row["n"])),
            number(row["mean"], row["std"], signed=True),
            Cell(row["estimand"]),
            Cell(interval_text(row["low"], row["high"])),
            *(p_value(row[key]) for key in ("p", "p_holm")),
        )
        for _, row in frame.iterrows()
    )
    of = list(zip(frame["method"], frame["choice"], strict=True))
    breaks = tuple(at for at in range(1, len(of)) if of[at] != of[at - 1])
    return Grid(title, header, rows, tuple(note.replace("`", "") for note in NOTES), breaks)
