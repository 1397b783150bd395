"""Every arm against the reference, paired by seed: the numbers behind the table, and what the seeds could show."""

import math

import pandas as pd

from analysis.collect import full_confirmations
from analysis.grid import Cell, Grid, number
from analysis.stats import hedges_g, holm, paired_difference, seeds_for_precision, smallest_detectable, wilcoxon_p
from dks_study.results import Results

PRECISION = 1.0  # percentage points of error: the half width that the last column plans for


def errors_by_seed(results: Results, metric: str = "test/top1/main") -> pd.DataFrame:
    """Return errors (%) of complete confirmation trials: a row per seed, a column per arm in the study's order."""
    trials = full_confirmations(results)
    if not len(trials) or metric not in trials:
        return pd.DataFrame()
    wide = (100 - trials.set_index(["seed", "arm"])[metric]).unstack("arm").sort_index()
    return wide[[arm for arm in results.study.arms if arm in wide]]


def comparisons(results: Results) -> pd.DataFrame:
    """Return one row per arm but the reference, over the seeds that both have (two or more; else no row).

    Columns: arm, n, mean, std, low, high (95 % BCa), p (sign-flip), p_holm, p_wilcoxon, hedges_g, detectable (true
    difference found with a probability of 80 %), seeds_needed (for a 95 % interval of +-1 point); points of error.
    """
    errors = errors_by_seed(results)
    reference = results.study.table.reference
    rows: list[dict[str, object]] = []
    for arm in errors.columns.drop(reference) if reference in errors else ():
        pairs = errors[[arm, reference]].dropna()
        if len(pairs) < 2:
            continue
        treated, base = pairs[arm].tolist(), pairs[reference].tolist()
        found = paired_difference(treated, base)
        row = {"arm": arm, **vars(found), "p_wilcoxon": wilcoxon_p(treated, base), "hedges_g": hedges_g(treated, base)}
        row["detectable"] = smallest_detectable(found.std, found.n) if found.std > 0 else math.nan
        row["seeds_needed"] = seeds_for_precision(found.std, PRECISION)
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.assign(p_holm=holm(frame["p"].tolist())) if len(frame) else frame


def comparison_grid(results: Results) -> Grid:
    """Return `comparisons` as a table."""
    frame, reference = comparisons(results), results.study.table.reference
    header: tuple[str, ...] = (
        "arm",
        "n",
        f"difference to {reference}",
        "95 % interval",
        "p sign-flip",
        "p Holm",
        "p Wilcoxon",
    )
    header += ("Hedges g", "detectable", f"seeds for ±{PRECISION:g}")
    rows = tuple(
        (
            Cell(str(row["arm"])),
            Cell(str(row["n"])),
            number(row["mean"], row["std"], signed=True),
            Cell(f"[{row['low']:+.2f}, {row['high']:+.2f}]"),
            *(number(row[key], digits=3) for key in ("p", "p_holm", "p_wilcoxon")),
            number(row["hedges_g"], signed=True),
            number(row["detectable"]),
            Cell(str(row["seeds_needed"])),
        )
        for _, row in frame.iterrows()
    )
    notes = (
        f"Points of test error, paired by seed with {reference}; negative is better. Interval: BCa bootstrap (Efron"
        " 1987). p: exact sign-flip test, Holm-adjusted over the arms; Wilcoxon signed-rank test.",
        "Hedges g: mean difference over its standard deviation, corrected for few seeds. Detectable: the true"
        f" difference that as many seeds find with a probability of 80 %. Seeds for ±{PRECISION:g}: how many make the"
        f" 95 % interval ±{PRECISION:g} point wide.",
    )
    return Grid(f"Every arm against {reference}", header, rows, notes)
