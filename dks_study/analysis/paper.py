"""Published numbers with their sources: paper.csv as a frame, and the rows of one data set, also as a table."""

from pathlib import Path

import pandas as pd

from dks_study.analysis.tables.grid import Cell, Grid

PATH = Path(__file__).parent / "paper.csv"
COLUMNS = ("network", "dataset", "method", "metric", "value", "std", "runs", "source", "trust")
TRUST = {
    "A": "the authors' own repository or README, first-hand",
    "A-fig": "read off the figures in the authors' README by pixel: ±0.15 points on CIFAR, ±0.7 on ImageNet",
    "A-calc": "computed from the shapes in the authors' code",
    "N": "a third party's note on the full text, which agrees with A wherever both exist",
    "S": "another second-hand source",
    "R": "a re-implementation's own result, not the paper's",
}


def load_paper(path: Path = PATH) -> pd.DataFrame:
    """Return the published numbers: COLUMNS, of which value and std are floats and runs an integer that may be missing.

    Errors and accuracies are in percent, parameters in millions (M), multiply-accumulates in billions (G).

    Raises:
        ValueError: naming the first row (1 is the one below the header) without a source, a known trust or a number.
    """
    frame = pd.read_csv(path, dtype=dict.fromkeys(COLUMNS, "str"), keep_default_na=False)
    if tuple(frame.columns) != COLUMNS:
        raise ValueError(f"{path.name}: columns must be {', '.join(COLUMNS)}, got {', '.join(frame.columns)}")
    numbers = {name: pd.to_numeric(frame[name].where(frame[name] != "")) for name in ("value", "std", "runs")}
    frame = frame.assign(**numbers).astype({"runs": "Int64"})
    for number, row in enumerate(frame.to_dict("records"), start=1):
        if not row["source"] or row["trust"] not in TRUST or pd.isna(row["value"]):
            raise ValueError(f"{path.name}: row {number} lacks a source, a known trust or a value")
    return frame


def published(dataset: str) -> pd.DataFrame:
    """Return the rows on errors and accuracies of `dataset`, named as in DataSpec (cifar100, imagenet)."""
    frame = load_paper()
    return frame[(frame["dataset"] == dataset) & frame["metric"].str.contains("error|accuracy")].reset_index(drop=True)


def published_grid(dataset: str) -> Grid:
    """Return `published` as a table; no row where there are none."""
    header = ("network", "method", "metric", "value", "std", "runs", "trust", "source")
    rows = published(dataset).astype(object).fillna("").astype(str).to_dict("records")
    return Grid(f"Published for {dataset}", header, tuple(tuple(Cell(row[name]) for name in header) for row in rows))
