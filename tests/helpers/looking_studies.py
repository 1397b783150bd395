"""Studies that look until their arms are decided, with errors that are known, and that train nothing."""

import random

from studies import small_study

from dks_study.spec.files import changed_study
from dks_study.spec.objectives import ACCURACY
from dks_study.study.ledger import Outcome, Record
from dks_study.study.planner import Planner, Step

EFFECTS = {"baseline": 0.0, "ds": 0.1, "dense": -6.0}  # points, to a spread of 1.4 of a difference
ERROR = 20.0


def looking(*overrides, first=6, every=2, seeds=12, **study):
    """Return a study without a search that looks after `first` seeds and every `every` more."""
    made = small_study(trials=0, report_seeds=tuple(range(seeds)), **study)
    return changed_study(made, [f"table.looks={{first: {first}, every: {every}}}", *overrides])


def outcome_of(cell, effects=EFFECTS):
    """Return the outcome of a trial: its error depends on arm and seed alone."""
    error = ERROR + effects[cell.arm] + random.Random(f"{cell.arm}{cell.seed}").gauss(0, 1)
    return Outcome("complete", {ACCURACY: 100 - error, "test/top1/main": 100 - error}, seconds=2.0)


def play(study, order=None, slots=1, records=(), stop_after=None, outcome=outcome_of, suggest=None):
    """Run the plan with `slots` trials at once, ending in the order of a random `order`; return the records."""
    order, records = order or random.Random(0), list(records)
    planner, running = Planner(study, suggest or (lambda *_: {}), records), []
    while True:
        step = planner.next() if len(running) < slots else Step.WAIT
        if step is Step.DONE:
            return records
        if step is not Step.WAIT:
            running.append(step)
            continue
        assert running, "WAIT with nothing running would wait for ever"
        cell = running.pop(order.randrange(len(running)))
        planner.settle(cell.id, outcome(cell))
        records.append(Record(cell, outcome(cell), "hash", "now"))
        if stop_after is not None and len(records) >= stop_after:
            return records


def seeds_by_arm(records):
    """Return how many report seeds each arm was trained with."""
    arms = [record.cell.arm for record in records if record.cell.phase == "confirm"]
    return {arm: arms.count(arm) for arm in dict.fromkeys(arms)}
