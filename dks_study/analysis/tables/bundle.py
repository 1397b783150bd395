"""Keep what tables and figures need of a study, and no more: dks-study bundle RESULTS FOLDER.

The trials as they are, the epochs in single precision, the provenance and the table; no checkpoints and no logs.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from dks_study.analysis.tables.study import write_tables
from dks_study.study.results import ResultsError, load_results


def bundle(results: Path, folder: Path) -> None:
    """Write trials.parquet, epochs.parquet, provenance.json and the study's tables into `folder`.

    Raises:
        ResultsError: if `results` does not hold a study.
    """
    study = load_results(results)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("provenance.json", "trials.parquet"):
        shutil.copyfile(results / name, folder / name)
    floats = study.epochs.select_dtypes("float64").columns
    epochs = study.epochs.astype(dict.fromkeys(floats, "float32"))
    texts = [str(name) for name in epochs.columns.difference(floats)]
    encoding = dict.fromkeys(map(str, floats), "BYTE_STREAM_SPLIT")  # a fifth smaller than Parquet's own choice
    epochs.to_parquet(
        folder / "epochs.parquet", index=False, compression="zstd", use_dictionary=texts, column_encoding=encoding
    )
    write_tables(load_results(folder), folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 done, 2 bad input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 2 or words[0].startswith("-"):
        print("usage: dks-study bundle RESULTS FOLDER", file=sys.stderr)
        return 0 if words in (["-h"], ["--help"]) else 2
    try:
        bundle(Path(words[0]), Path(words[1]))
    except (ResultsError, OSError) as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
