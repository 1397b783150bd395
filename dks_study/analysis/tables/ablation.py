"""Any ablation as rows x columns, from tidy trials (see analysis.collect): mean and std over seeds, what is not told
apart from the best in bold.

A table compares only what may be compared. What differs in recipe, split, budget or seeds, and what has no result,
is refused by name; nothing is dropped in silence.
"""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from dks_study.analysis.collect import CONTEXT
from dks_study.analysis.rows import LENGTH, repeat_of
from dks_study.analysis.tables.comparisons import not_told_apart
from dks_study.analysis.tables.grid import Cell, Grid, number

TEST = "test/top1/main"
COMMON = ("recipe/", "split/", "budget/")


class MixError(ValueError):
    """A table would mix what must not be mixed; the message names it."""


def shared_seeds(trials: pd.DataFrame, rows: str, columns: str | None = None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Keep the seeds that every cell of a data set and backbone has, and say which ones went."""
    if not len(trials):
        return trials, ()
    kept, notes = [], []
    dims = [name for name in (rows, columns) if name]
    for context, group in trials.groupby(list(CONTEXT), sort=False):
        seeds = [set(cell["seed"]) for _, cell in group.groupby(dims, sort=False)]
        common, gone = set.intersection(*seeds), sorted(set.union(*seeds) - set.intersection(*seeds))
        kept.append(group[group["seed"].isin(common)])
        if gone:
            named = ", ".join(map(str, context))
            notes.append(f"Left out ({named}): seeds {', '.join(map(str, gone))}, which some cell lacks.")
    return pd.concat(kept), tuple(notes)


def ablation_cells(
    trials: pd.DataFrame, rows: str, columns: str | None = None, metrics: Sequence[str] = (TEST,)
) -> pd.DataFrame:
    """Return one line per cell and metric: row, column, metric, mean, std (n - 1), n.

    Accuracies (top1, top5; %) become errors (100 - accuracy, %); other metrics stay in their unit.

    Args:
        trials: complete confirmation trials, as `collect` returns them.
        rows: a column of `trials`: arm, dataset, backbone, study, or a dotted key such as loss.pairing.
        columns: another one, or None for a column per metric.
        metrics: columns of numbers; more than one only without `columns`.

    Raises:
        MixError: if the trials may not stand in one table.
        ValueError: if a column is not there or there is nothing to show.
    """
    dims = [name for name in (rows, columns) if name]
    missing = [name for name in (*dims, *metrics) if name not in trials.columns]
    if missing or not len(trials):
        raise ValueError(f"nothing to show: no column {', '.join(missing)}" if missing else "nothing to show: no trial")
    if columns and len(metrics) > 1:
        raise ValueError(f"columns {columns}: takes one metric, got {', '.join(metrics)}")
    refuse_mixtures(trials, dims)
    found = []
    for metric in metrics:
        values = 100 - trials[metric] if _is_accuracy(metric) else trials[metric]
        groups = trials[dims].assign(value=values).groupby(dims, sort=False)["value"]
        numbers = groups.agg(mean="mean", std="std", n="count").reset_index()
        found.append(
            numbers.rename(columns={rows: "row"} | ({columns: "column"} if columns else {})).assign(metric=metric)
        )
    cells = pd.concat(found, ignore_index=True).query("n > 0")  # an arm without a branch has no accuracy of it
    return cells if columns else cells.assign(column=cells["metric"].map(metric_name))


def ablation(
    trials: pd.DataFrame,
    rows: str,
    columns: str | None = None,
    metrics: Sequence[str] = (TEST,),
    *,
    title: str = "",
) -> Grid:
    """Return the table of `ablation_cells`; raises as that does.

    In bold: what is not told apart from the lowest mean among the cells of one data set, backbone and metric.
    """
    cells = ablation_cells(trials, rows, columns, metrics)
    across = [name for name, dim in (("row", rows), ("column", columns)) if dim in CONTEXT]
    cells["bold"] = False
    for _, group in cells.groupby([*across, "metric"], sort=False):
        cells.loc[group.index, "bold"] = _bold(trials, rows, columns, group)
    names = list(pd.unique(cells["column"]))
    at = {(line.row, line.column): line for line in cells.itertuples()}
    body = tuple(
        (Cell(_shown(row)), *(_cell(at.get((row, name))) for name in names)) for row in pd.unique(cells["row"])
    )
    sizes = sorted(set(cells["n"]))
    n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    what = "; ".join(metric_name(metric) for metric in metrics)
    note = f"{what}: mean ± standard deviation over {n} seeds, lower is better; bold: not told apart from the best."
    return Grid(title or f"{what} by {rows}", (rows, *map(_shown, names)), body, (note,))


def _bold(trials: pd.DataFrame, rows: str, columns: str | None, cells: pd.DataFrame) -> list[bool]:
    """Return for each of comparable `cells`, all of one metric and the same seeds, whether it may be the best."""
    errors, metric = {}, str(cells["metric"].iloc[0])
    for line in cells.itertuples():
        mine = trials[trials[rows] == line.row]
        mine = mine[mine[columns] == line.column] if columns else mine
        values = mine.set_index("seed")[metric]
        errors[line.Index] = 100 - values if _is_accuracy(metric) else values
    repeats = repeat_of(trials).groupby(trials["seed"]).first()
    best = not_told_apart(pd.DataFrame(errors), repeats)
    return [at in best for at in cells.index]


def refuse_mixtures(trials: pd.DataFrame, dims: Sequence[str]) -> None:
    """Check that a table over `dims` compares like with like.

    Raises:
        MixError: one line that names what is mixed.
    """
    _refuse_unfit(trials)
    for name in CONTEXT:
        if name not in dims and trials[name].nunique() > 1:
            raise MixError(f"{name}: {_several(trials[name])} in one table; make it the rows or the columns")
    shown = [name for name in CONTEXT if name in dims]
    for _, group in trials.groupby(shown, sort=False) if shown else [((), trials)]:
        for key in (str(key) for key in trials.columns if str(key).startswith(COMMON)):
            kind, _, name = key.partition("/")
            if name not in dims and group[key].nunique(dropna=False) > 1:
                raise MixError(f"{kind}: {name} is {_several(group[key])} in one table")
        _refuse_unequal_seeds(group, dims)
        _refuse_several_settings(group, dims)


def _refuse_unfit(trials: pd.DataFrame) -> None:
    for column, wanted in (("status", "complete"), ("phase", "confirm")):
        others = trials[trials[column] != wanted]
        if len(others):
            raise MixError(f"{column}: {len(others)} trials are not {wanted}, {others['trial'].iloc[0]} for one")
    planned = trials["budget/epochs"].astype(float)
    chosen = trials[LENGTH].astype(float).fillna(planned) if LENGTH in trials else planned
    short = trials[trials["epochs"] != chosen]
    if len(short):
        raise MixError(f"budget: {len(short)} trials ran fewer epochs than planned, {short['trial'].iloc[0]} for one")


def _refuse_unequal_seeds(group: pd.DataFrame, dims: Sequence[str]) -> None:
    seeds = {cell: sorted(found) for cell, found in _seeds_by_cell(group, dims)}
    for cell, found in seeds.items():
        if len(set(found)) < len(found):
            raise MixError(f"cell {cell}: several trials of one seed; they differ in {_differing(group, dims, cell)}")
    first = next(iter(seeds))
    for cell, found in seeds.items():
        if found != seeds[first]:
            raise MixError(f"seeds: {first} has {seeds[first]}, {cell} has {found}; see shared_seeds")


def _refuse_several_settings(group: pd.DataFrame, dims: Sequence[str]) -> None:
    """Refuse a cell that averages over different values of a key, such as two studies' branches on other seeds."""
    keys = [str(key) for key in group.columns if "." in str(key) and "/" not in str(key)]
    for cell, found in group.groupby(list(dims), sort=False):
        for key in keys:
            chosen = f"setting/{key}" in found and found[f"setting/{key}"].notna().any()  # by each search for its seeds
            if not chosen and found[key].nunique(dropna=False) > 1:
                raise MixError(f"cell {', '.join(map(_shown, cell))}: {key} is {_several(found[key])}")


def _seeds_by_cell(group: pd.DataFrame, dims: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    for cell, found in group.groupby(list(dims), sort=False):
        yield ", ".join(map(_shown, cell)), found["seed"].tolist()


def _differing(group: pd.DataFrame, dims: Sequence[str], cell: str) -> str:
    mine = next(
        found for named, found in group.groupby(list(dims), sort=False) if ", ".join(map(_shown, named)) == cell
    )
    keys = [str(key) for key in mine.columns if "/" not in str(key) and str(key) not in ("trial", "seed", "index")]
    differing = [key for key in keys if key not in ("ended", "trial_hash", "error") and mine[key].nunique() > 1]
    return ", ".join(differing) or "nothing that is on record"


def _several(values: "pd.Series[str]") -> str:
    return " and ".join(map(str, pd.unique(values)[:3]))


def _is_accuracy(metric: str) -> bool:
    return "/top1/" in metric or "/top5/" in metric


def metric_name(metric: str) -> str:
    """Return how a table names a metric: test/top1/main is 'test error (%)', test/top5/stage1 says so."""
    split, _, rest = metric.partition("/")
    kind, _, classifier = rest.partition("/")
    if not _is_accuracy(metric):
        return metric
    top = "" if kind == "top1" else f" {kind.replace('top', 'top-')}"
    return f"{split}{top} error{'' if classifier == 'main' else f' of {classifier}'} (%)"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(line: object) -> Cell:
    if line is None:
        return Cell()
    mean, std, bold = getattr(line, "mean", math.nan), getattr(line, "std", math.nan), getattr(line, "bold", False)
    return number(float(mean), float(std), bold=bool(bold))
