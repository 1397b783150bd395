"""The command `dks-study`: run a study, say what one is doing, and what is done with its results.

Nothing heavy is imported until a study starts.
"""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dks_study.describing import print_plan, print_proposal
from dks_study.engine.interrupts import AGAIN, EXIT_BAD_INPUT, EXIT_LOST, INTERRUPTED
from dks_study.engine.notifying import MESSAGE
from dks_study.spec.base import LostError, Problem, printable
from dks_study.spec.files import load_study
from dks_study.spec.options import WHERE, OptionParser, above_0, add_results, next_time, some_text
from dks_study.spec.shipped import SPACES
from dks_study.spec.study import StudySpec
from dks_study.spec.yamldoc import SpecError, load_document
from dks_study.studies import carry_out, folder_of
from dks_study.study.matching import matched
from dks_study.watch.output import forget_losses

EXIT_FAILED_TRIALS, EXIT_UNFINISHED = 1, 4
MOST_HOURS = 87_600  # ten years


# First word of a command -> the module whose `main` it is.
COMMANDS = {
    "export": "dks_study.study.export",
    "report": "dks_study.analysis.report.page",
    "overview": "dks_study.analysis.report.overview",
    "bundle": "dks_study.analysis.tables.bundle",
    "grow": "dks_study.growing",
    "merge": "dks_study.merging",
    "checklist": "dks_study.analysis.report.checklist",
    "diff": "dks_study.analysis.differing",
    "verify": "dks_study.verifying",
    "watch": "dks_study.watching",
    "doctor": "dks_study.engine.doctor",
    "clean": "dks_study.study.cleaning",
    "schema": "dks_study.spec.schema",
}


def main(arguments: Sequence[str] | None = None, program: str = "dks-study") -> int:
    """Run the command line; return the exit status (docs/reference/exit-statuses.md).

    `program` is what the command calls itself in its errors.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not os.environ.get("COLUMNS", "").strip("0"):  # 0: nobody knows how wide; rich would print nothing
        os.environ.pop("COLUMNS", None)
    try:
        _check_current_folder()
        if words and words[0] in COMMANDS:
            command: Callable[[list[str]], int] = importlib.import_module(COMMANDS[words[0]]).main
            return command(words[1:])
        if words and not words[0].startswith("-"):
            raise SpecError(f"{words[0]!r} is no command ({', '.join(COMMANDS)}); to run a question: --space NAME")
        parser = _parser(program)
        options = parser.parse_args(words)
        if options.list or options.status is not None:
            _check_alone(parser, options)
        if options.list:
            return _list()
        if options.status is not None:
            return _status(Path(options.status), program)
        if options.space is None:
            raise SpecError("--space must name a question: see --list")
        study = matched(load_study(options.space, options.profile, options.set))
        if options.check_data:
            return _check_data(study)
        folder = folder_of(study, options.results)
        if options.plan_for is not None:
            return print_proposal(study, folder.parent, options.plan_for)
        return print_plan(study, folder) if options.dry_run else run_and_print(study, options)
    except Problem as error:
        print(f"{program}: {printable(str(error))}", file=sys.stderr)
        return EXIT_LOST if isinstance(error, LostError) else EXIT_BAD_INPUT


def _check_current_folder() -> None:
    """Refuse to work from a folder that is gone: libraries that are loaded from there end the process without a word.

    Raises:
        SpecError: one line.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise SpecError(
            f"the current folder must be there, got one that is gone ({error.strerror}): cd to one"
        ) from error


def _parser(program: str) -> argparse.ArgumentParser:
    parser = OptionParser(
        prog=program,
        description="Does deep supervision with knowledge synergy help my network, and how should it be set up?",
        epilog=f"Running the same command again goes on where it stopped. Further commands: {', '.join(COMMANDS)}.",
    )
    parser.add_argument("--space", metavar="NAME|PATH", help="the question: a file in search_spaces/, or a path")
    parser.add_argument("--profile", metavar="NAME|PATH", help="the scale, instead of the one that the space names")
    override = (
        "put a value at a dotted key in place of what stands there, be it a section: arms.ds={} leaves none of it"
    )
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=override)
    add_results(parser, "where studies are kept (results)")
    add_where(parser)
    status = "print what the study in this folder is doing, or each study in a folder of studies, and start nothing"
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--status", metavar="FOLDER", type=some_text("a folder"), help=status)
    instead.add_argument(
        "--dry-run",
        action="store_true",
        help="print the plan and its size, start nothing; options of where it runs are not looked at",
    )
    precision = "print how many seeds, searches and trials a 95 %% interval of +-POINTS takes, and start nothing"
    instead.add_argument("--plan-for", metavar="POINTS", type=above_0("points of error"), help=precision)
    check = "decode every image of the study's data, print what they are and what is wrong with them, start nothing"
    instead.add_argument("--check-data", action="store_true", help=check)
    instead.add_argument("--list", action="store_true", help="list the spaces, profiles and recipes that ship")
    return parser


def _check_alone(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what --list and --status would not look at; --notify is of every command."""
    written = {"finish_at": "--finish-by"} | ({} if options.reuse else {"reuse": "--no-reuse"})
    for name, value in vars(options).items():
        if name not in ("list", "status", "notify") and value != parser.get_default(name):
            option = written.get(name, f"--{name.replace('_', '-')}")
            raise SpecError(f"{option}: not allowed with argument {'--list' if options.list else '--status'}")


def add_where(parser: argparse.ArgumentParser) -> None:
    """Add the options that change no number: where a study runs, is kept and is shown, and what it adopts."""
    address = "join the Ray cluster at this address instead of starting Ray on this machine"
    parser.add_argument("--address", metavar="auto|HOST:PORT", type=WHERE["address"], help=address)
    storage = "database that shows the search to optuna-dashboard, instead of optuna.journal in the study's folder"
    parser.add_argument("--optuna-storage", metavar="URL", type=WHERE["optuna_storage"], help=storage)
    home = "keep the study there, too, and let trials write there: needed where nodes do not share --results"
    parser.add_argument("--storage", metavar="FOLDER|URL", type=WHERE["storage"], help=home)
    parser.add_argument(
        "--disk-gib", metavar="GIB", type=WHERE["disk_gib"], help="what checkpoints and predictions may take (all free)"
    )
    reuse = parser.add_mutually_exclusive_group()
    there = "adopt finished trials from the studies there, too: by default from those in --results alone"
    reuse.add_argument("--reuse", metavar="FOLDER|URL", type=WHERE["reuse"], default=True, help=there)
    reuse.add_argument("--no-reuse", dest="reuse", action="store_false", help="adopt no trial: train them all")
    again = (
        "let lost trials run again: failed, diverged, out_of_memory, timed_out, or one by its name; may be given again"
    )
    parser.add_argument("--retry", metavar="WHICH", action="append", default=[], help=again)
    end = parser.add_mutually_exclusive_group()
    clock = "end at a report seed's end, with the arms equal, before that time of the day; the same command goes on"
    end.add_argument("--finish-by", metavar="HH:MM", dest="finish_at", type=next_time, help=clock)
    end.add_argument(
        "--hours", metavar="N", type=above_0("hours", MOST_HOURS), help="the same, before so many hours have passed"
    )
    notify = f"run this by the shell when the command ends, however it ends; ${MESSAGE} says how, in one line"
    parser.add_argument("--notify", metavar="COMMAND", type=some_text("a command"), help=notify)
    mlflow = "show every trial as a run in the MLflow at this URI, such as sqlite:///mlflow.db"
    parser.add_argument("--mlflow", metavar="URI", type=WHERE["mlflow"], help=mlflow)
    wandb = "show every trial as a run in this project of Weights & Biases; WANDB_MODE=offline keeps them here"
    parser.add_argument("--wandb", metavar="PROJECT", type=WHERE["wandb"], help=wandb)


def _list() -> int:
    console = Console(soft_wrap=True)
    kinds = {"spaces": (SPACES, "question"), "profiles": (SPACES / "profiles", "about")}
    kinds["recipes"] = (SPACES / "recipes", "about")
    for title, (folder, key) in kinds.items():
        table = Table(title, key, box=None, pad_edge=False)
        for path in sorted(folder.glob("*.yaml")):
            table.add_row(path.stem, str(load_document(path).values.get(key, "")))
        console.print(table)
    return 0


def _status(path: Path, program: str) -> int:
    from dks_study.watch.status import find_studies, line, read_status, render

    console = Console(soft_wrap=True, highlight=False)
    folders = find_studies(path)
    if len(folders) == 1:
        study = read_status(folders[0])
        console.print(Text(str(study.folder)))
        console.print(render(study))
        return 0
    status = 0
    for folder in folders:
        try:
            console.print(Text(line(read_status(folder))))
        except Problem as error:  # the others are told all the same
            print(f"{program}: --status: {printable(str(error))}", file=sys.stderr)
            status = EXIT_BAD_INPUT
    return status


def _check_data(study: StudySpec) -> int:
    from dks_study.watch.data_check import check_data

    check_data(study, Console(soft_wrap=True, highlight=False))
    return 0


def run_and_print(study: StudySpec, options: argparse.Namespace) -> int:
    """Run a study with the options of `add_where` and `results`; return the exit status."""
    names = ("address", "optuna_storage", "disk_gib", "storage", "reuse", "retry", "finish_at")
    where = {name: getattr(options, name) for name in names}
    if options.hours is not None:
        where["finish_at"] = time.time() + 3600 * options.hours
    try:
        done, table, report, missing = carry_out(study, options.results, where, options.mlflow, options.wandb)
    except KeyboardInterrupt:
        print(f"Interrupted: {AGAIN}", file=sys.stderr)
        return INTERRUPTED
    print(table)
    print(report)
    if missing:
        print(f"Ended by the clock: {missing} Run the same command again to go on.")
        return EXIT_UNFINISHED
    forget_losses()  # all of it is in the study's folder
    return EXIT_FAILED_TRIALS if done.without_result else 0
