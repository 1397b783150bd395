"""A study's plan, played without training: each trial's outcome is drawn from its name."""

import random

from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome, Record
from dks_study.study.planner import Planner, Step


def suggest(search, index, tried, widened):
    """A sampler whose suggestion depends on everything it may see."""
    seen = "|".join(f"{t.setting}={t.value}" for t in tried)
    return {"optimiser.lr": 0.02 + random.Random(f"{search}{index}{seen}{widened}").random() / 10}


def outcome_of(cell: Cell) -> Outcome:
    return Outcome("complete", {ACCURACY: random.Random(f"{cell}").random()})


def play(study, order: random.Random, slots: int, records=(), stop_after=None, suggest=suggest, outcome=outcome_of):
    """Run the plan with `slots` at once, finishing in a random order; return the records."""
    planner, records, running = Planner(study, suggest, records), list(records), []
    while True:
        step = planner.next() if len(running) < slots else Step.WAIT
        if isinstance(step, Cell):
            running.append(step)
        elif step is Step.DONE:
            return records
        else:
            assert running, "WAIT with nothing running would wait for ever"
            cell = running.pop(order.randrange(len(running)))
            planner.settle(cell.id, outcome(cell))
            records.append(Record(cell, outcome(cell), "hash", "now"))
            if stop_after is not None and len(records) >= stop_after:
                return records
