"""Keep a finished study among the results that ship: python analysis/keep.py results/NAME-HASH analysis/results/NAME.

What tables, figures and notebooks need, and no more: of search trials their last epochs, and no checkpoints.
"""

import argparse
import shutil
from pathlib import Path

import pandas as pd

from dks_study.analysis.tables.study import write_tables
from dks_study.study.results import load_results


def main() -> None:
    """Copy what is kept; the table must come out of it again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("kept", type=Path)
    options = parser.parse_args()
    results = load_results(options.study)
    options.kept.mkdir(parents=True)
    confirmed = results.epochs[results.epochs["phase"] == "confirm"].dropna(axis=1, how="all")
    _write(results.trials, options.kept / "trials.parquet")
    _write(confirmed, options.kept / "epochs.parquet")
    shutil.copy(options.study / "provenance.json", options.kept)
    table = write_tables(load_results(options.kept), options.kept)
    if table != (options.study / "table.md").read_text(encoding="utf-8"):
        raise SystemExit(f"{options.kept}: the table is another one than that of {options.study}")
    print(f"{options.kept}: {sum(path.stat().st_size for path in options.kept.iterdir()):,} bytes")


def _write(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False, compression="zstd", compression_level=19)


if __name__ == "__main__":
    main()
