"""A study that grows: dks-study grow FOLDER --seeds 6-9 --arms adjacent --trials +4, or --until decided --at-most 24.

What grows is a new study, in a folder of its own beside the old one, whose finished trials it adopts. The same command
given again goes on.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from dks_study import cli
from dks_study.spec.base import MOST_TRIALS
from dks_study.spec.files import changed_study
from dks_study.spec.options import OptionParser, whole
from dks_study.spec.pairing import SCHEMES
from dks_study.spec.study import StudySpec
from dks_study.spec.table import LEAST_SEARCHES
from dks_study.spec.yamldoc import SpecError
from dks_study.studies import folder_of
from dks_study.study.cell import Cell, Phase
from dks_study.study.donors import Donor, donors_in
from dks_study.study.identity import read_origin
from dks_study.study.ledger import Record, read_ledger
from dks_study.study.matching import matched
from dks_study.study.planned import planned, planned_trials
from dks_study.study.planner import Planner, trial_of
from dks_study.study.results import load_study_of
from dks_study.study.reusing import reused
from dks_study.study.sealing import RULE
from dks_study.study.search import optuna_suggest
from dks_study.study.sources import TRIALS, code_of

_SEEDS = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")


def main(words: Sequence[str]) -> int:
    """Run the command line; return as `cli.main`.

    Raises:
        Problem: one line, if the study cannot be read, or not grow like that.
    """
    parser = OptionParser(prog="dks-study grow", description="Make a study larger; what is finished is adopted.")
    parser.add_argument("folder", metavar="FOLDER", help="of the study that grows")
    parser.add_argument("--seeds", metavar="6-9", help="further report seeds: 6-9, or 6,8")
    arms = "a further arm: a pairing scheme, or NAME={KEY: VALUE, ...}; may be given again"
    parser.add_argument("--arms", metavar="ARM", action="append", default=[], help=arms)
    parser.add_argument("--trials", metavar="+N", help="further search trials in every arm")
    until = (
        "let every arm take further seeds until it is told from its reference, by tests that allow for looking often"
    )
    parser.add_argument("--until", metavar="decided", help=until)
    parser.add_argument("--at-most", metavar="24", help="with --until: the report seeds of an arm in all, at most")
    parser.add_argument("--step", metavar="N", help="with --until: the seeds from one look to the next (1)")
    more = "whatever else is to change, as when a study is started"
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=more)
    parser.add_argument("--dry-run", action="store_true", help="print what would be adopted and trained, start nothing")
    cli.add_where(parser)
    options = parser.parse_args(list(words))
    old = load_study_of(Path(options.folder))
    changes = [*_changes(old, options.seeds, options.arms, options.trials), *_until(old, options)]
    _check_each_is_said_once(changes, options.set)
    if not (overrides := [*changes, *options.set]):
        raise SpecError(f"grow {options.folder}: nothing to change: give --seeds, --arms, --trials, --until or --set")
    study, options.results = matched(changed_study(old, overrides)), str(Path(options.folder).resolve().parent)
    if not options.dry_run:
        return cli.run_and_print(study, options)
    studies = reused(Path(options.results), options.reuse)
    _show(study, forecast(study, donors_in(studies, folder_of(study, options.results), print)))
    if study.table.looks:
        print(_at_most(old, study, read_ledger(Path(options.folder) / "ledger.jsonl", old)))
    return 0


def _changes(study: StudySpec, seeds: str | None, arms: Sequence[str], trials: str | None) -> Iterator[str]:
    """Yield as `key=value` what the options ask for."""
    if seeds is not None:
        yield f"report_seeds={[*study.report_seeds, *(s for s in _seeds(seeds) if s not in study.report_seeds)]}"
    for text in arms:
        name, equals, settings = text.partition("=")
        if name in study.arms:
            raise SpecError(f"--arms: must be new, got {name!r}; there are {', '.join(study.arms)}")
        if not equals and name not in SCHEMES:
            rule = f"must be a pairing scheme ({', '.join(SCHEMES)}) or NAME={{KEY: VALUE, ...}}"
            raise SpecError(f"--arms: {rule}, got {text!r}")
        yield f"arms.{name}={settings if equals else f'{{loss.pairing: {name}}}'}"
    if trials is not None:
        if not re.fullmatch(r"\+[1-9][0-9]{0,9}", trials) or not study.search.trials:
            had = "every cell once" if study.search.trials is None else f"{study.search.trials} trials"
            raise SpecError(
                f"--trials: must be +N, for a study whose search has a number of trials ({had}), got {trials!r}"
            )
        yield f"search.trials={study.search.trials + int(trials)}"


def _check_each_is_said_once(changes: Iterable[str], further: Iterable[str]) -> None:
    for text in further:
        key = text.partition("=")[0].strip()
        for change in changes:
            if f"{change.partition('=')[0]}.".startswith(f"{key}."):
                rule = "must be left out, as --seeds, --arms, --trials or --until change it"
                raise SpecError(f"--set: {key}: {rule}, got {text!r}")


def _until(study: StudySpec, options: argparse.Namespace) -> Iterator[str]:
    """Yield as `key=value` what lets a study grow until its arms are decided."""
    if options.until is None:
        for name in ("at_most", "step"):
            if (given := getattr(options, name)) is not None:
                raise SpecError(f"--{name.replace('_', '-')}: must be left out without --until decided, got {given!r}")
        return
    if options.until != "decided":
        raise SpecError(f"--until: must be decided, got {options.until!r}")
    if options.seeds is not None:
        raise SpecError(f"--seeds: must be left out with --until, which adds seeds itself, got {options.seeds!r}")
    if study.table.looks:
        rule = "must be left out: this study has been looked at by such a rule, and its error is spent"
        raise SpecError(f"--until: {rule} (at most {len(study.report_seeds)} seeds), got {options.until!r}")
    there = len(study.report_seeds)
    if there % study.searches:
        rule = (
            f"must be left out where searches have not as many report seeds each ({there} of {study.searches} searches)"
        )
        raise SpecError(f"--until: {rule}, got {options.until!r}")
    each = study.seeds_of_search if study.searches > 1 else 1
    most = _whole("--at-most", options.at_most, f"must be a number of seeds above the {there} that are there", there)
    step = _whole("--step", options.step or str(each), "must be a number of seeds above 0", 0)
    for option, value in (("--at-most", most), ("--step", step)):
        if value % each:
            raise SpecError(f"{option}: must be the seeds of whole searches ({each} each), got {str(value)!r}")
    if study.searches > 1 and most < LEAST_SEARCHES * each:
        rule = (
            f"must be at least {LEAST_SEARCHES * each}, the seeds of {LEAST_SEARCHES} searches: fewer decide too little"
        )
        raise SpecError(f"--at-most: {rule}, got {str(most)!r}")
    free = (seed for seed in count() if seed not in study.report_seeds and seed != study.search.seed)
    # Seeds of one search stand together then: each keeps those that it has.
    positions = sorted(range(there), key=study.search_of)
    yield f"report_seeds={[*(study.report_seeds[at] for at in positions), *islice(free, most - there)]}"
    if study.searches > 1:
        yield f"search.repeats={most // each}"
    yield f"table.looks={{first: {there}, every: {step}}}"


def _whole(option: str, text: str | None, rule: str, above: int) -> int:
    number = whole(text or "")
    if number is None or number <= above:
        raise SpecError(f"{option}: {rule}, got {text!r}")
    if number > MOST_TRIALS:
        raise SpecError(f"{option}: must be at most {MOST_TRIALS:,}, got {text!r}")
    return number


def _at_most(old: StudySpec, study: StudySpec, records: Iterable[Record]) -> str:
    """Return what the rest costs if no arm is decided before the last seed."""
    assert study.table.looks is not None
    seconds = defaultdict[tuple[str, Phase], list[float]](list)
    for record in records:
        if record.outcome.seconds is not None:
            seconds[record.cell.arm, record.cell.phase].append(record.outcome.seconds)
    before, after = planned(old), planned(study)
    further = {
        (arm, phase): number - before[arm][phase] if arm in before else number
        for arm, plan in after.items()
        for phase, number in plan.items()
    }
    trials = {kind: number for kind, number in further.items() if number}
    times = ", ".join(map(str, study.table.looks.after(len(study.report_seeds))))
    text = f"Looks after {times} seeds ({RULE}). If no arm is decided before: {sum(trials.values())} further trials"
    if not all(seconds[kind] for kind in trials):
        return f"{text}."
    hours = sum(number * fmean(seconds[kind]) for kind, number in trials.items()) / 3600
    return f"{text}, {hours:.3g} h of training one after another, as long as they took so far."


def _seeds(text: str) -> list[int]:
    found = list[int]()
    for part in text.split(","):
        match = _SEEDS.fullmatch(part.strip())
        seeds = range(int(match[1]), int(match[2] or match[1]) + 1) if match else ()
        if not seeds:
            raise SpecError(f"--seeds: must be seeds such as 6-9 or 6,8, got {text!r}")
        if len(found) + len(seeds) > MOST_TRIALS:
            raise SpecError(f"--seeds: must be at most {MOST_TRIALS:,} seeds, got {text!r}")
        found += seeds
    return found


@dataclass(frozen=True)
class Forecast:
    """What becomes of the trials of an arm that are known by now; others wait for what is trained."""

    adopted: int = 0
    trained: int = 0


def forecast(study: StudySpec, donors: Sequence[Donor]) -> Mapping[str, Forecast]:
    """Return by arm what would be adopted and trained, if data and machine are those of the donors."""
    code = code_of(TRIALS)
    known: dict[str, Donor] = {}
    for donor in donors:
        origin = read_origin(donor.folder).origin
        if origin and origin["code of dks_study"] == code:
            known.setdefault(donor.record.trial_hash, donor)
    planner, found = Planner(study, optuna_suggest(study)), {arm: Forecast() for arm in study.arms}
    while isinstance(cell := planner.next(), Cell):
        trial = trial_of(study, cell)
        match, before = known.get(trial.content_hash()), found[cell.arm]
        if match:
            planner.settle(cell.id, match.record.outcome)
            found[cell.arm] = Forecast(before.adopted + 1, before.trained)
        else:
            found[cell.arm] = Forecast(before.adopted, before.trained + 1)
    return found


def _show(study: StudySpec, found: Mapping[str, Forecast]) -> None:
    table = Table("arm", "adopted", "trained", box=None, pad_edge=False)
    for arm, each in found.items():
        table.add_row(arm, str(each.adopted), str(each.trained))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    adopted = sum(each.adopted for each in found.values())
    print(f"{adopted} of {planned_trials(study)} trials would be adopted, if data and machine are what they were;")
    print(
        "trials that depend on what is trained (later ones of a search, confirmations of its choice) are not counted."
    )
