"""The folder of a study that this process runs, half done: files as a study leaves them, and numbers that are known."""

import json

from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.study import provenance
from dks_study.study.cell import Cell
from dks_study.study.holder import lock_text
from dks_study.study.ledger import Ledger, Outcome, Record
from dks_study.study.planner import Planner

ARMS = ("baseline", "dense")
EPOCHS = 4
TEST = 87.654321  # test accuracy (%) of the baseline's first seed: seen nowhere before all confirmations have ended
AHEAD = {"baseline": 0.0, "dense": 3.571829}  # by how many points an arm is better on test images: no effect is 0
BY_SEED = 0.293  # and by how many it is more so with the second seed
RUNNING = Cell("dense", "confirm", 1, 1, EPOCHS, {})


def the_study():
    """Two arms, two search trials of each, two seeds."""
    return small_study(trials=2, arms=ARMS, epochs=EPOCHS)


def half_done(folder, confirmed=1):
    """Write a study whose searches have ended and so many confirmations; return its folder."""
    folder.mkdir(parents=True)
    provenance.write_provenance(folder, the_study(), [], provenance.new_session(0))
    (folder / "lock").write_text(lock_text())
    go_on(folder, 4 + confirmed)
    return folder


def go_on(folder, trials=None):
    """End so many more trials, or all that are left."""
    ledger = Ledger(folder / "ledger.jsonl")
    planner = Planner(the_study(), lambda *_: {"optimiser.lr": 0.06}, ledger.records)
    while trials != 0 and isinstance(cell := planner.next(), Cell):
        train(folder, cell, cell.epochs)
        outcome = ended(cell)
        ledger.append(Record(cell, outcome, "hash", provenance.now()))
        planner.settle(cell.id, outcome)
        trials = trials and trials - 1


def ended(cell):
    """Return how a trial ends: the later of a search the better."""
    metrics = {ACCURACY: 80.0 + cell.index} | ({"test/top1/main": accuracy_of(cell)} if cell.phase == "confirm" else {})
    return Outcome("complete", metrics, seconds=float(cell.epochs))


def accuracy_of(cell):
    """Return the test accuracy of a confirmation."""
    return TEST + AHEAD[cell.arm] * (1 + BY_SEED * cell.seed)


def train(folder, cell=RUNNING, epochs=2):
    """Let a trial train so many epochs."""
    trial = folder / "trials" / cell.id
    trial.mkdir(parents=True, exist_ok=True)
    rows = [
        {"epoch": float(epoch), ACCURACY: 60.0 + epoch, "test/top1/main": accuracy_of(cell)}
        for epoch in range(1, epochs + 1)
    ]
    (trial / "epochs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (trial / "trial.json").write_text(json.dumps({"seed": cell.seed, "epochs": cell.epochs}))


def lose(folder, cell, why):
    """Let a trial fail."""
    record = Record(cell, Outcome("failed", {}, why), "hash", provenance.now())
    Ledger(folder / "ledger.jsonl").append(record)
