"""Every arm against the reference, paired by seed: the numbers behind the table, and what the seeds could show."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dks_study.analysis.rows import TUNED, TableRow, arm_of, full_confirmations, repeat_of, table_rows
from dks_study.analysis.statistics.estimands import Effect, effect, effect_of_looks, effect_of_splits
from dks_study.analysis.statistics.margins import CANNOT_TELL, UNDECIDED, seeds_to_decide, verdict
from dks_study.analysis.statistics.paired import hedges_g, holm, wilcoxon_p
from dks_study.analysis.statistics.planning import detectable_by_t, seeds_for_precision, smallest_detectable
from dks_study.analysis.tables.grid import Cell, Grid, number, p_value
from dks_study.spec.study import StudySpec
from dks_study.spec.table import LEVEL, TableSpec
from dks_study.study.deciding import shares, unit_means
from dks_study.study.results import Results
from dks_study.study.sealing import RULE
from dks_study.study.sequential import equivalence_p, repeated_p

PRECISION = 1.0  # percentage points of error: the half width that the last column plans for
NEEDED = f"n for ±{PRECISION:g}"
METHODS = (
    "Points of test error, paired by seed; negative is better. Of the settings: the effect of what was chosen, with"
    " other seeds; of the procedure: with other searches, too. Interval and p of independent differences: those of the"
    " exact sign-flip test (Hartigan 1969; below six, Student's t interval); of fewer searches than seeds: Student's t"
    " on the means of the searches. benchmarks/interval_coverage.md says what they cover. Holm: adjusted over the arms"
    " as tuned, and over those as written."
)
LOOKED = (
    "Points of test error, paired by seed; negative is better. Of the settings: the effect of what was chosen, with"
    " other seeds; of the procedure: with other searches, too. Interval and p hold at all looks together: Student's t"
    f" with group-sequential bounds ({RULE}), on the means of the searches where those are repeated."
    " benchmarks/looking.md says what they hold. Holm: adjusted over the arms as tuned, and over those as written."
)
SPLIT = (
    "Points of test error, paired by seed and split of the data; negative is better. Of the settings: the effect of"
    " what is written, with other seeds and splits; of the procedure: with other searches, too. Interval and p:"
    " Student's t on the means of the splits, with the variance that Nadeau and Bengio (2003) give where splits share"
    " training images. Holm: adjusted over the arms as tuned, and over those as written."
)
COLUMNS = (
    "Choice and seed: standard deviations of a difference that come from the luck of the searches and of the seed."
    " Hedges g: mean difference over its standard deviation, corrected for few seeds. Detectable: the true difference"
    f" that such a comparison finds after Holm with a probability of 80 %. {NEEDED}: how many seeds (each with a search"
    f" of its own, where there are several) make the 95 % interval ±{PRECISION:g} point wide."
)
LAST, CHOSEN = "test/top1/main", "test_chosen/top1/main"  # accuracy of the last epoch, and of that chosen on validation


def errors_by_seed(results: Results, metric: str = LAST) -> pd.DataFrame:
    """Return errors (%) of complete confirmation trials: a row per seed, a column per row of the study's table."""
    if metric not in results.trials:
        return pd.DataFrame()
    trials = full_confirmations(results, "seed", "row", metric)
    if not len(trials):
        return pd.DataFrame()
    wide = (100 - trials.set_index(["seed", "row"])[metric]).unstack("row").sort_index()
    return wide[[row.name for row in table_rows(results) if row.name in wide]]


def repeats_by_seed(results: Results) -> "pd.Series[int]":
    """Return the search repeat of each report seed with a complete trial; 0 where there was one search."""
    trials = full_confirmations(results, *(key for key in ("seed", "repeat") if key in results.trials))
    return repeat_of(trials).groupby(trials["seed"]).first() if len(trials) else pd.Series(dtype=int)


def comparisons(results: Results, metric: str = LAST) -> pd.DataFrame:
    """Return one line per row of the table but the references, over the seeds that both have (two or more; else none).

    Columns, in points of error: arm (the row), choice, base (what it is compared with), n, searches, mean, std;
    estimand ("settings" after one search, else "procedure") with its 95 % interval low, high and p, p_holm (over the
    rows of the same choice), standard_error, freedom, method; settings_low, settings_high, procedure_low and
    procedure_high (NaN where it cannot be said); choice_std, seed_std; p_wilcoxon (NaN with several searches, but
    fewer than seeds), hedges_g; detectable (true difference found with a probability of 80 %, Holm's adjustment
    included; NaN with looks) and seeds_needed (for a 95 % interval of +-1 point; each with a search of its own where
    there are several; NaN with splits of the data, whose method is "splits"). With a margin or looks also verdict; with
    a margin p_equivalence_holm, and, without looks, seeds_to_decide (infinite: too many; NaN with splits); with looks
    shares (the part of all seeds that each had).
    """
    errors, repeats = errors_by_seed(results, metric), repeats_by_seed(results)
    study, all_pairs = results.study, _pairs(results.study, table_rows(results), errors)
    frame = pd.DataFrame([_line(study, row, pairs, repeats) for row, pairs in all_pairs])
    if not len(frame):
        return frame
    family = frame["choice"].map(frame["choice"].value_counts()).tolist()
    found = [_detectable(line, count) for line, count in zip(frame.to_dict("records"), family, strict=True)]
    frame = frame.assign(p_holm=_adjusted(frame, "p"), detectable=found)
    return _judged(frame, study.table, family) if study.table.margin or study.table.looks else frame


def _adjusted(frame: pd.DataFrame, column: str) -> "pd.Series[float]":
    """Return p values adjusted over the rows of the same choice."""
    return frame.groupby("choice")[column].transform(lambda p_values: holm(p_values.tolist()))


def _judged(frame: pd.DataFrame, table: TableSpec, family: Sequence[int]) -> pd.DataFrame:
    lines = frame.to_dict("records")
    inside = pd.Series(1.0, index=frame.index)
    if table.margin is not None:
        frame = frame.assign(p_equivalence=[_equivalence_p(line, table.margin) for line in lines])
        inside = _adjusted(frame, "p_equivalence")
        frame = frame.assign(p_equivalence_holm=inside)
    told = [verdict(*each) for each in zip(frame["mean"], frame["p_holm"], inside, strict=True)]
    if table.looks is not None:
        return frame.assign(verdict=[UNDECIDED if each == CANNOT_TELL else each for each in told])
    needed = [_seeds_to_decide(line, table.margin, count) for line, count in zip(lines, family, strict=True)]
    return frame.assign(verdict=told, seeds_to_decide=needed)


def _seeds_to_decide(line: Mapping[Hashable, Any], margin: float | None, comparisons: int) -> float:
    if margin is None or line["method"] == "splits":
        return math.nan
    return seeds_to_decide(line["mean"], line["std"], margin, comparisons)


def _equivalence_p(line: Mapping[Hashable, Any], margin: float) -> float:
    p = equivalence_p(line["mean"], line["standard_error"], line["freedom"], margin)
    return repeated_p(p, line["shares"]) if line["method"] == "looks" else p


def _pairs(study: StudySpec, rows: Sequence[TableRow], errors: pd.DataFrame) -> Iterator[tuple[TableRow, pd.DataFrame]]:
    for row in rows:
        if row.name != row.base and row.name in errors and row.base in errors:
            pairs = errors[[row.name, row.base]].dropna()
            if can_compare(study, pairs):
                yield row, pairs


def can_compare(study: StudySpec | None, pairs: pd.DataFrame) -> bool:
    """Are there pairs enough, by report seed: two, of two splits of the data, or searches that a study looks at, where
    there are several?
    """
    if study is not None and study.table.looks and study.searches > 1:
        return len({study.search_of(study.report_seeds.index(seed)) for seed in pairs.index}) > 1
    return len(pairs) > 1 and (study is None or study.splits == 1 or len(set(_splits(study, pairs))) > 1)


def effect_of(
    study: StudySpec | None, differences: "pd.Series[float]", repeats: Sequence[int], rows: Iterable[Hashable]
) -> Effect:
    """Return what can be said of differences by report seed between two `rows` of the table; `repeats` names the search
    of each (see `can_compare`).
    """
    values = differences.tolist()
    if study and study.table.looks:
        by_position = {study.report_seeds.index(seed): value for seed, value in differences.items()}
        return effect_of_looks(values, repeats, unit_means(study, by_position), shares_of(study, differences))
    if study and study.splits > 1:
        overlap = study.test_to_training({arm_of(str(row)) for row in rows}) or 0.0
        return effect_of_splits(values, _splits(study, differences), overlap, searched=len(set(repeats)) > 1)
    return effect(values, repeats)


def _splits(study: StudySpec, by_seed: "pd.Series[float] | pd.DataFrame") -> list[int]:
    return [study.report_seeds.index(seed) % study.splits for seed in by_seed.index]


def shares_of(study: StudySpec, by_seed: "pd.Series[float] | pd.DataFrame") -> tuple[float, ...]:
    """Return the part of all report seeds that each look has had; `by_seed` has the seeds that are compared."""
    return shares(study, [study.report_seeds.index(seed) for seed in by_seed.index])


def _line(study: StudySpec, row: TableRow, pairs: pd.DataFrame, repeats: "pd.Series[int]") -> dict[str, object]:
    treated, base = pairs[row.name].tolist(), pairs[row.base].tolist()
    differences = pairs[row.name] - pairs[row.base]
    # Nothing was chosen for the arms as written: their seeds are independent whatever the searches.
    groups = repeats[pairs.index].tolist() if row.choice == TUNED else [0] * len(pairs)
    found = effect_of(study, differences, groups, (row.name, row.base))
    claim, std, n = found.claim, float(np.std(differences, ddof=1)), len(pairs)
    independent = claim.freedom == n - 1 and claim.method not in ("looks", "splits")
    seen_at = {} if study.table.looks is None else {"shares": shares_of(study, pairs)}
    return {
        **{"arm": row.name, "choice": row.choice, "base": row.base, "n": n, "searches": len(set(groups))},
        **{"mean": float(np.mean(differences)), "std": std, "estimand": found.estimand},
        **{key: getattr(claim, key) for key in ("low", "high", "p", "standard_error", "freedom", "method")},
        **{f"settings_{end}": getattr(found.settings, end, math.nan) for end in ("low", "high")},
        **{f"procedure_{end}": getattr(found.procedure, end, math.nan) for end in ("low", "high")},
        **{"choice_std": found.components.choice, "seed_std": found.components.seed},
        "p_wilcoxon": wilcoxon_p(treated, base) if independent else math.nan,
        "hedges_g": hedges_g(treated, base),
        "seeds_needed": math.nan if claim.method == "splits" else seeds_for_precision(std, PRECISION),
        **seen_at,
    }


def _detectable(line: Mapping[Hashable, Any], comparisons: int) -> float:
    if not line["standard_error"] > 0 or line["method"] == "looks":
        return math.nan
    if line["freedom"] == line["n"] - 1 and line["method"] != "splits":
        return smallest_detectable(line["std"], line["n"], comparisons=comparisons)
    return float(line["standard_error"] * detectable_by_t(line["freedom"], level=LEVEL / comparisons))


def not_told_apart(errors: pd.DataFrame, repeats: "pd.Series[int]", study: StudySpec | None = None) -> list[Hashable]:
    """Return the columns of `errors` (seeds x rows) that are not told apart from the lowest one (see `lowest`).

    That one is among them; `repeats` has the search of each seed, and `study` says whether it looks early. Told apart
    is what the paired comparison with it, Holm-adjusted over the columns, finds to differ at the 5 % level; where fewer
    than two seeds are shared, nothing is.
    """
    best = lowest(errors)
    pairs = {name: errors[[name, best]].dropna() for name in errors if name != best}
    known = {name: each for name, each in pairs.items() if can_compare(study, each)}
    p_values = [
        effect_of(study, each[name] - each[best], repeats[each.index].tolist(), (name, best)).claim.p
        for name, each in known.items()
    ]
    differ = {name for name, p in zip(known, holm(p_values), strict=True) if p < LEVEL}
    return [name for name in errors if name not in differ]


def lowest(errors: pd.DataFrame) -> Hashable:
    """Return the column of `errors` (seeds x rows) with the lowest mean.

    Where columns have other seeds, by their mean difference from the one with most seeds, on those that both have: the
    mean of a column says as much of its seeds as of itself.
    """
    if errors.notna().all(axis=None):
        return errors.mean().idxmin()
    fullest = errors.notna().sum().idxmax()
    return errors.sub(errors[fullest], axis=0).mean().idxmin()


def interval_text(low: float, high: float) -> str:
    """Return an interval as tables show it: [-10.56, -6.89]; nothing where it is not known."""
    return "" if math.isnan(low) else f"[{low:+.2f}, {high:+.2f}]"


def comparison_grid(results: Results, metric: str = LAST) -> Grid:
    """Return `comparisons` as a table."""
    frame = comparisons(results, metric)
    tests = ("95 % interval", "p", "p (Holm)", "p (Wilcoxon)")
    spread = ("choice", "seed")
    header = ("arm", "against", "n", "difference", "of the", *tests, *spread, "Hedges g", "detectable", NEEDED)
    rows = tuple(
        (
            *(Cell(str(row[key])) for key in ("arm", "base", "n")),
            number(row["mean"], row["std"], signed=True),
            Cell(row["estimand"]),
            Cell(interval_text(row["low"], row["high"])),
            *(p_value(row[key]) for key in ("p", "p_holm", "p_wilcoxon")),
            *(number(row[f"{name}_std"]) for name in spread),
            number(row["hedges_g"], signed=True),
            Cell("none" if math.isinf(row["detectable"]) else number(row["detectable"]).shown),
            Cell("" if math.isnan(row["seeds_needed"]) else f"{row['seeds_needed']:.0f}"),
        )
        for _, row in frame.iterrows()
    )
    where = "after the last epoch" if metric == LAST else "after the epoch that validation chose"
    methods = LOOKED if results.study.table.looks else SPLIT if results.study.splits > 1 else METHODS
    return Grid(f"Paired comparisons {where}", header, rows, (methods, COLUMNS) if metric == LAST else ())
