"""One study of several that are the same but for their report seeds: dks-study merge A B --results FOLDER."""

from collections.abc import Sequence
from pathlib import Path

from dks_study import cli
from dks_study.spec.options import OptionParser, add_results
from dks_study.studies import folder_of, read
from dks_study.study.merging import building, in_words, merge, united, unused
from dks_study.study.mixing import own_processors, read_sides, refuse_mixing
from dks_study.study.results import write_results
from dks_study.watch.mirror import Mirror

_SHOWN = 5


def main(words: Sequence[str]) -> int:
    """Run the command line; return 0 done, 1 done with lost trials.

    Raises:
        Problem: one line, if the studies cannot be merged.
    """
    about = "Join studies that are the same but for their report seeds; they stay as they are."
    parser = OptionParser(prog="dks-study merge", description=about)
    parser.add_argument("folders", metavar="FOLDER", nargs="+", help="of a study, two or more")
    add_results(parser, "where the merged study goes (results)")
    options = parser.parse_args(list(words))
    sides = read_sides([Path(folder) for folder in options.folders])
    refuse_mixing(sides)
    study = united(sides)
    target = folder_of(study, options.results)
    with building(target) as folder:
        merged = merge(study, sides, folder)
        Mirror(study, folder, None, print).restore(merged.records)
        shown = () if merged.left else _written(folder, target)
    print(f"results: {target}\n{in_words(study, merged)}")
    if processors := own_processors(sides):
        print(f"Note: the processors are not the same, which can change numbers: {processors}.")
    _tell("Not taken", merged.unfit)
    _tell("Not used, as the merged study has no such trial by now", unused(sides, merged))
    _tell("To be trained, by the study's command with these seeds and --results", [cell.name for cell in merged.left])
    for text in shown:
        print(text)
    return cli.EXIT_FAILED_TRIALS if any(record.outcome.lost for record in merged.records) else 0


def _written(folder: Path, target: Path) -> tuple[str, str]:
    """Write results, table and report into `folder`; return the table, and where the report is once it is `target`."""
    write_results(folder)
    table, report = read(folder).write()
    return table, report.replace(str(folder), str(target))


def _tell(what: str, found: Sequence[str]) -> None:
    if found:
        more = ", ..." if len(found) > _SHOWN else ""
        print(f"{what}: {len(found)} ({', '.join(found[:_SHOWN])}{more}).")
