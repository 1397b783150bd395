"""Studies that look until their arms are decided, with errors that are known, and that train nothing."""

import random
from dataclasses import replace

import played
from studies import small_study

from dks_study.spec.files import changed_study
from dks_study.spec.objectives import ACCURACY
from dks_study.study.ledger import Ledger, Outcome
from dks_study.study.provenance import write_provenance
from dks_study.study.results import load_results, write_results

EFFECTS = {"baseline": 0.0, "ds": 0.1, "dense": -6.0}  # points, to a spread of 1.4 of a difference
ERROR = 20.0
COSTS = {f"cost/{what}_{when}": 1.0 for what in ("params", "macs") for when in ("train", "inference")}


def looking(*overrides, first=6, every=2, seeds=12, **study):
    """Return a study without a search that looks after `first` seeds and every `every` more."""
    made = small_study(trials=0, report_seeds=tuple(range(seeds)), **study)
    return changed_study(made, [f"table.looks={{first: {first}, every: {every}}}", *overrides])


AXES = "axes: {optimiser.lr: {float: [0.01, 0.2], log: true}}"


def searching(*overrides, repeats=8, first=6, every=2, seeds=16):
    """Return a study of searches with two seeds each that looks after `first` seeds and every `every` more."""
    search = f"search={{trials: 2, repeats: {repeats}, finalists: 2, race_seeds: 1, seed: 99, {AXES}}}"
    made = changed_study(small_study(trials=0, report_seeds=tuple(range(seeds))), [search])
    return changed_study(made, [f"table.looks={{first: {first}, every: {every}}}", *overrides])


def outcome_of(cell, effects=EFFECTS):
    """Return the outcome of a trial: its error depends on arm and seed alone."""
    error = ERROR + effects[cell.arm] + random.Random(f"{cell.arm}{cell.seed}").gauss(0, 1)
    return Outcome("complete", {ACCURACY: 100 - error, "test/top1/main": 100 - error}, seconds=2.0)


def play(study, order=None, slots=1, outcome=outcome_of, suggest=None, **given):
    """Run the plan as `played.play` does, with errors that are known and, by default, without a search."""
    order, suggest = order or random.Random(0), suggest or (lambda *_: {})
    return played.play(study, order, slots, outcome=outcome, suggest=suggest, **given)


def results_of(folder, study, lost=(), effects=EFFECTS, **given):
    """Return what `study` leaves in `folder` when it is played and loses the trials named `lost`."""

    def outcome(cell):
        if cell.id in lost:
            return Outcome("failed", {}, "killed")
        ended = outcome_of(cell, effects)
        return replace(ended, metrics=ended.metrics | COSTS)

    ledger = Ledger(folder / "ledger.jsonl")
    for record in play(study, outcome=outcome, **given):
        ledger.append(record)
    write_provenance(folder, study, [], None)
    write_results(folder)
    return load_results(folder)


def seeds_by_arm(records):
    """Return how many report seeds each arm was trained with."""
    arms = [record.cell.arm for record in records if record.cell.phase == "confirm"]
    return {arm: arms.count(arm) for arm in dict.fromkeys(arms)}
