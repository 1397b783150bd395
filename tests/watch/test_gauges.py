"""The gauges, what Ray exports of them, and the dashboard that draws them."""

import json
import re
from pathlib import Path

import pytest
from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.watch import gauges
from dks_study.watch.gauges import ABOUT, BEST, SPEED, TAGS, TRIALS, StudyGauges

ROOT = Path(__file__).resolve().parents[2]
SEARCH = Cell("dense", "search", 0, 99, 1, {})
CONFIRM = Cell("dense", "confirm", 1, 1, 2, {})


class Kept:
    """Stands for ray.util.metrics.Gauge: keeps the last value by tags."""

    def __init__(self, name, description, tag_keys):
        self.values, self._keys, self._common = {}, tag_keys, {}

    def set_default_tags(self, tags):
        self._common = tags

    def set(self, value, tags):
        tags = self._common | tags
        assert set(tags) == set(self._keys)
        self.values[tuple(tags[key] for key in self._keys)] = value


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setattr(gauges, "Gauge", Kept)
    return StudyGauges(small_study(), "small-1")


def trials(study, phase):
    values = study._gauges[TRIALS].values
    return {state: int(v) for (_, arm, p, state), v in values.items() if (arm, p) == ("dense", phase) and v}


def test_trials_are_counted_by_state_and_phase(study):
    study.settled(SEARCH, Outcome("complete", {ACCURACY: 91.0}), earlier=True)
    study.started(CONFIRM)
    assert trials(study, "search") == {"planned": 1, "complete": 1}
    assert trials(study, "confirm") == {"planned": 3, "running": 1}
    assert study._gauges[BEST].values == {("small-1", "dense", "search"): 91.0}
    study.settled(CONFIRM, Outcome("diverged", {}, "not finite"))
    assert trials(study, "confirm") == {"planned": 3, "diverged": 1}
    assert ("small-1", "baseline", "search", "planned") in study._gauges[TRIALS].values, "every arm from the start"


def test_images_per_second_are_those_of_running_trials(study):
    other = Cell("dense", "confirm", 0, 0, 2, {})
    for cell, speed in ((CONFIRM, 100.0), (other, 50.0)):
        study.started(cell)
        study.epoch(cell, {"epoch": 1.0, "train/images_per_s": speed})
    speeds = study._gauges[SPEED].values
    assert speeds["small-1", "dense", "confirm"] == 150.0
    study.settled(CONFIRM, Outcome("complete", {ACCURACY: 90.0}))
    assert speeds["small-1", "dense", "confirm"] == 50.0
    study.settled(other, Outcome("failed", {}, "no memory"))
    assert speeds["small-1", "dense", "confirm"] == 0.0


def expressions(dashboard):
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (v["definition"] for v in dashboard["templating"]["list"] if v["type"] == "query")


def test_the_grafana_dashboard_draws_these_gauges_and_no_others():
    dashboard = json.loads((ROOT / "cluster" / "grafana_dashboard.json").read_text())
    texts = list(expressions(dashboard))
    assert {name for text in texts for name in re.findall(r"ray_\w+", text)} == {f"ray_{name}" for name in ABOUT}
    labels = {name for text in texts for name in re.findall(r"(\w+)=~", text)}
    groups = {
        name.strip() for text in texts for group in re.findall(r"by \(([^)]*)\)", text) for name in group.split(",")
    }
    assert labels | groups <= set(TAGS[TRIALS])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
