"""A study's numbers as gauges of Ray, which every node offers to Prometheus as `ray_<name>`.

cluster/grafana_dashboard.json draws them.
"""

from itertools import product

from ray.util.metrics import Gauge

from dks_study.spec.study import StudySpec
from dks_study.study.cell import Cell, Phase
from dks_study.study.ledger import Outcome, Status
from dks_study.study.planner import PHASES
from dks_study.watch.progress import Metrics, Tracker

ENDED: tuple[Status, ...] = ("complete", "stopped", "diverged", "out_of_memory", "timed_out", "failed")
TRIALS = "dks_trials"
BEST = "dks_best_val_top1_percent"
SPEED = "dks_images_per_second"
ABOUT = {
    TRIALS: "Trials by state; planned are those that have not started",
    BEST: "Best validation top-1 of trials that completed",
    SPEED: "Training images per second in the latest epochs of the running trials",
}
TAGS = {TRIALS: ("study", "arm", "phase", "state"), BEST: ("study", "arm", "phase"), SPEED: ("study", "arm", "phase")}


class StudyGauges:
    """Sets the gauges of a study as its trials start, report and end."""

    name = "gauges"

    def __init__(self, study: StudySpec, title: str) -> None:
        """Count from nothing; `title` becomes the tag `study`."""
        self._tracker = Tracker(study)
        self._begun = False
        self._speeds: dict[str, float] = {}  # images per second by trial
        self._gauges = {name: Gauge(name, about, TAGS[name]) for name, about in ABOUT.items()}
        for gauge in self._gauges.values():
            gauge.set_default_tags({"study": title})

    def started(self, cell: Cell) -> None:
        """`cell` begins to train."""
        self._tracker.start(cell)
        if not self._begun:  # Ray was not there for those that ended before
            for arm, phase in product(self._tracker.planned, PHASES):
                self._set(arm, phase)
        self._begun = True
        self._set(cell.arm, cell.phase)

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """`cell` has finished an epoch."""
        self._tracker.epoch(cell, int(metrics["epoch"]))
        self._speeds[cell.id] = metrics["train/images_per_s"]
        self._set(cell.arm, cell.phase)

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """`cell` has ended."""
        self._tracker.settle(cell, outcome)
        self._speeds.pop(cell.id, None)
        if not earlier:
            for phase in PHASES:  # what an arm confirms is known when its search has ended
                self._set(cell.arm, phase)

    def end(self) -> None:
        """Nothing: Ray ends with the session, and its gauges with it."""

    def _set(self, arm: str, phase: Phase) -> None:
        tally = self._tracker.tally(arm, phase)
        running = [c.id for c, _ in self._tracker.running.values() if (c.arm, c.phase) == (arm, phase)]
        tags = {"arm": arm, "phase": phase}
        most = self._tracker.planned[arm][phase]
        counts = {"planned": max(0, most - tally.ended - len(running)), "running": len(running)}
        for state, count in (counts | {state: tally.states.get(state, 0) for state in ENDED}).items():
            self._gauges[TRIALS].set(count, tags | {"state": state})
        self._gauges[SPEED].set(sum(self._speeds.get(name, 0.0) for name in running), tags)
        if tally.best is not None:
            self._gauges[BEST].set(tally.best, tags)
