"""What a study would do, without starting anything: `--dry-run` and `--plan-for`."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from dks_study.spec.search import LENGTH
from dks_study.spec.shipped import KEPT
from dks_study.spec.space import ArmSpace, arm_space, sampler_of
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.telling import auto_recipes_by_arm, matches_in_words, same_arms, sections_in_words, wrong_labels
from dks_study.spec.yamldoc import SpecError
from dks_study.study.cell import Phase
from dks_study.study.planned import planned
from dks_study.study.planner import PHASES
from dks_study.study.provenance import same_question
from dks_study.study.sealing import RULE
from dks_study.watch.progress import mean_epochs


def print_plan(study: StudySpec, folder: Path) -> int:
    """Print what a study would train, how it would choose, and what it can show; return 0."""
    table = Table(
        "arm", Column("overrides", overflow="fold"), "axes", "search", "race", "confirmation", box=None, pad_edge=False
    )
    how = Table("arm", "sampler", "cells", "early stopping", box=None, pad_edge=False)
    for arm, plan in planned(study).items():
        overrides = ", ".join(f"{key}={value}" for key, value in study.arms[arm].items() if key != LENGTH)
        space = arm_space(study, arm)
        axes = [*space.axes, *(f"{key} = {axis}" for key, axis in space.ties.items())] if plan["search"] else []
        table.add_row(arm, Text(overrides), "\n".join(axes), *(str(plan[phase]) for phase in PHASES))
        if plan["search"]:
            how.add_row(f"search of {arm}", *_search_of(study, space))
    plans = planned(study).values()
    trials = {phase: sum(plan[phase] for plan in plans) for phase in PHASES}
    epochs = sum(_epochs(study, arm, plan) for arm, plan in planned(study).items())
    longest = max(study.epochs_of(arm, {}, search=False) for arm in study.arms)
    # A front is as large as it turns out; where the arm as written is chosen it is trained once.
    grown = "at most " if study.table.looks and study.searches > 1 else ""
    most = "at most " if not grown and (trials["search"] or study.table.looks) else ""
    console = Console(soft_wrap=True, highlight=False)
    print(study.question)
    console.print(table)
    for text, arms in auto_recipes_by_arm(study).items():
        console.print(Text(f"recipe auto: {text} ({', '.join(arms)})"))
    for line in (*matches_in_words(study), *sections_in_words(study)):
        console.print(Text(line))
    for arms in same_arms(study):
        console.print(f"the same training as written: {', '.join(arms)}")
    if how.row_count:
        console.print(how)
    if trials["search"]:
        nuisance = ", ".join(key for key, axis in study.search.axes.items() if axis.role == "nuisance")
        console.print(f"tuned in every arm: {nuisance or 'nothing'}")
        console.print(_choice_of(study))
    console.print(
        f"{grown}{trials['search']} search trials, {trials['race']} of finalists, {most}{trials['confirm']}"
        f" confirmation trials: about {epochs:.0f} epochs, {longest} at most in each"
    )
    for line in (*_seeds_of(study), *_trials_of(study)):
        console.print(line)
    if any(arm_run(study, arm, {}).pretrained for arm in study.arms):
        from dks_study.study.weights import look_at_weights

        look_at_weights(study, folder, lambda line: console.print(Text(line)))
    for line in _what_it_shows(study, folder.parent):
        console.print(line)
    print(f"results: {folder}")
    return 0


def _seeds_of(study: StudySpec) -> Iterator[str]:
    """Say what becomes of the report seeds, where that is more than one after another."""
    if looks := study.table.looks:
        after = ", ".join(map(str, looks.after(len(study.report_seeds))))
        more = ", and no more searches" if study.searches > 1 else ""
        yield f"looks after {after} report seeds: an arm that is decided takes no more{more} ({RULE})"
    if study.splits > 1:
        yield _splits_of(study)


def _trials_of(study: StudySpec) -> Iterator[str]:
    """Say where trials are trained, how, and on which labels."""
    resources = study.trial.resources
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = f", with {resources.gpus:g} GPU each, which are counted at the start" if resources.gpus else ""
    yield f"a trial takes {resources.cpus} of the {cpus} CPUs here: {cpus // resources.cpus} at a time{gpus}"
    yield f"computed in {study.trial.computation}"
    if wrong := wrong_labels(study):
        yield f"{wrong}: trial.data.label_noise"


def _splits_of(study: StudySpec) -> str:
    """Return what several splits of the data cost: not a trial more, but wider intervals."""
    each, freedom = len(study.report_seeds) // study.splits, study.splits - 1
    text = f"{study.splits} splits of the data, {each} report seed{'s' if each > 1 else ''} on each: an interval stands"
    text += f" on {freedom} degree{'s' if freedom > 1 else ''} of freedom"
    if (overlap := study.test_to_training(study.arms)) is None:
        return f"{text}; all splits have the same test images"
    wider = (1 + study.splits * overlap) ** 0.5
    return f"{text}, and is {wider:.2f} times as wide as if the splits shared no training images"


def _epochs(study: StudySpec, arm: str, plan: Mapping[Phase, int]) -> float:
    """Return about how many epochs the trials of an arm take."""
    return sum(plan[phase] * mean for phase, mean in mean_epochs(study, arm, plan).items())


def _what_it_shows(study: StudySpec, results: Path) -> list[str]:
    """Return what the study can show; scipy is imported only if there is an earlier study to read."""
    from dks_study.analysis.report.reach import UNKNOWN, compared_arms, out_of_reach

    if not compared_arms(study) or study.splits > 1 or study.table.looks:  # what is known is of plans without
        return []
    lines = [line] if (line := out_of_reach(study)) else []
    if not (folders := same_question(study, [results, KEPT])):
        return [*lines, UNKNOWN]
    from dks_study.analysis.report.detect import read_earlier, smallest_difference

    earlier = read_earlier(folders)
    return [*lines, smallest_difference(study, earlier) if earlier else UNKNOWN]


def print_proposal(study: StudySpec, results: Path, half_width: float) -> int:
    """Print the seeds, searches and trials that an interval of +-`half_width` points takes; return 0.

    Raises:
        SpecError: if no earlier study says how much its differences spread, or `half_width` is below any use.
    """
    from dks_study.analysis.report.detect import read_earlier
    from dks_study.analysis.report.plan import plan_notes, proposal_table
    from dks_study.analysis.statistics.planning import LEAST_HALF_WIDTH

    if half_width < LEAST_HALF_WIDTH:
        raise SpecError(f"--plan-for: must be at least {LEAST_HALF_WIDTH} points of error, got {half_width:g}")
    earlier = read_earlier(same_question(study, [results, KEPT]))
    if earlier is None:
        rule = "needs the results of an earlier study of this question on these data and this backbone"
        raise SpecError(f"--plan-for: {rule} (a pilot of a few report_seeds will do), got none in {results} or {KEPT}")

    def cost(changed: StudySpec) -> tuple[int, float]:
        arms = planned(changed)
        epochs = sum(_epochs(changed, arm, plan) for arm, plan in arms.items())
        return sum(sum(plan.values()) for plan in arms.values()), epochs

    console = Console(soft_wrap=True, highlight=False)
    print(f"{study.question} To within ±{half_width:g} points:")
    console.print(proposal_table(study, earlier, half_width, cost))
    for note in plan_notes(study, earlier, half_width):
        console.print(note)
    return 0


def _choice_of(study: StudySpec) -> str:
    """Return how a setting of an arm is chosen, in one line."""
    search = study.search
    times = f"{search.repeats} independent searches of each arm, in each " if search.repeats > 1 else ""
    if search.race_seeds:
        race = f"a race of the best {search.finalists} settings on {search.race_seeds} more seeds"
        return f"{times}{race}; one replaces the arm as written if it beats it by more than the standard error"
    return (
        f"{times}the best setting is chosen" if len(search.objectives) == 1 else "a Pareto front of each arm is chosen"
    )


def _search_of(study: StudySpec, space: ArmSpace) -> tuple[str, str, str]:
    """Return sampler, number of cells and early stopping of an arm, as the plan shows them."""
    rule = study.search.early_stopping
    halving = f", reduction {rule.reduction}" if rule.kind in ("asha", "hyperband") else ""
    stopping = "none" if rule.kind == "none" else f"{rule.kind} from epoch {rule.grace_epochs}{halving}"
    return sampler_of(study, space), str(len(space.cells())) if space.finite else "continuous", stopping
