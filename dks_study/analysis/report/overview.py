"""Every study of a folder in one table, each arm against its own reference: dks-study overview [FOLDER].

Studies are listed, never pooled: what their tables compare stays inside each. FOLDER: the kept results that ship.
"""

import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path

from dks_study.analysis.collect import backbone_name
from dks_study.analysis.kept import SHIPPED
from dks_study.analysis.rows import table_rows
from dks_study.analysis.tables.comparisons import comparisons, errors_by_seed, interval_text
from dks_study.analysis.tables.grid import Cell, Grid, markdown, number, p_value
from dks_study.spec.base import Problem, printable
from dks_study.spec.reaching import reached
from dks_study.study.results import Results, ResultsError, load_results

HEADER = ("study", "arm", "n", "test error (%)", "against", "difference", "95 % interval", "of the", "p (Holm)")
NOTE = (
    "Points of test error of `main` after the last epoch, mean ± standard deviation over n seeds; difference paired"
    " by seed. Interval and p of the settings are those of the exact sign-flip test (Hartigan 1969; below six seeds,"
    " Student's t) and say nothing of another search; those of the procedure take its luck in. p is adjusted by Holm"
    " inside each study."
)
OTHERS = "In studies that looked early, or have several splits of the data, they are those of the study's own table."


def overview(studies: Sequence[tuple[str, Results]]) -> Grid:
    """Return one row per row of each study's table; the name of a study stands in its first row alone."""
    rows = [row for name, results in studies for row in _rows(name, results)]
    others = any(results.study.table.looks or results.study.splits > 1 for _, results in studies)
    return Grid("All studies", HEADER, tuple(rows), (NOTE, OTHERS) if others else (NOTE,))


def _rows(name: str, results: Results) -> Iterator[tuple[Cell, ...]]:
    errors, compared = errors_by_seed(results), comparisons(results)
    study = results.study
    title = f"{name} ({study.trial.data.name}, {backbone_name(study.trial)})"
    for row in table_rows(results):
        if row.name not in errors:
            continue
        mine = errors[row.name].dropna()
        yield (
            Cell(title),
            Cell(row.name),
            Cell(str(len(mine))),
            number(float(mine.mean()), float(mine.std(ddof=1))),
            *next((_difference(line) for line in compared.to_dict("records") if line["arm"] == row.name), [Cell()] * 5),
        )
        title = ""


def _difference(line: Mapping[Hashable, object]) -> list[Cell]:
    mean, std, low, high, p = (float(str(line[key])) for key in ("mean", "std", "low", "high", "p_holm"))
    return [
        Cell(str(line["base"])),
        number(mean, std, signed=True),
        Cell(interval_text(low, high)),
        Cell(str(line["estimand"])),
        p_value(p),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 done, 2 bad input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) > 1 or any(word.startswith("-") for word in words):
        print(
            "usage: dks-study overview [FOLDER]: a folder of studies; else the kept ones of a checkout", file=sys.stderr
        )
        return 0 if words in (["-h"], ["--help"]) else 2
    folder = Path(words[0]) if words else SHIPPED
    try:
        paths = sorted(path.parent for path in reached(folder).glob("*/trials.parquet"))
        if not paths:
            raise ResultsError(f"{folder}: holds no study with trials.parquet")
        print(markdown(overview([(path.name, load_results(path)) for path in paths])), end="")
    except Problem as error:
        print(f"dks-study overview: {printable(str(error))}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
