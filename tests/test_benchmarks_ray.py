"""What the benchmarks of the Ray side reckon with, without Ray."""

import pytest
from measuring.instant import Clock, Moment, cost_s, gaps_ms, instant_fit, instant_study, parts_ms, slope_kib
from measuring.timed import Span, shares

from dks_study.spec.study import arm_trial
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.study.planned import planned

CELL = Cell("arm0", "search", 0, 10**6, 1, {})


def test_a_study_of_instant_trials_is_as_large_as_asked_for():
    study = instant_study(7, 3, arms=2, cpus_per_worker=4)
    assert planned(study) == {arm: {"search": 7, "race": 0, "confirm": 2 * 3} for arm in ("arm0", "arm1")}
    assert study.trial.resources.cpus == 4
    assert planned(instant_study(0, 3)) == {"arm0": {"search": 0, "race": 0, "confirm": 3}}


def test_an_instant_trial_is_over_after_one_report_that_its_study_can_use():
    trial = arm_trial(instant_study(1, 1), "arm0", {}, epochs=1, phase="search", seed=1)
    (report,) = instant_fit(trial, None, None, None, costs=False)
    assert report.epoch == trial.epochs
    assert report.state.trial_hash == trial.content_hash()
    assert {"val/top1/main", "train/images_per_s"} <= report.metrics.keys()


def test_a_clock_sees_every_event_of_this_session():
    clock = Clock()
    clock.started(CELL)
    clock.epoch(CELL, {})
    clock.settled(CELL, Outcome("complete", {}))
    clock.settled(CELL, Outcome("complete", {}), earlier=True)
    assert [moment.event for moment in clock.moments] == ["start", "report", "end"]


def test_the_cost_of_a_trial_leaves_out_the_first_one():
    times = [(0, 5, 6), (6.5, 7, 7.25), (7.5, 8.5, 9)]  # seconds of start, report and end
    moments = [
        Moment(event, at, 2 * at, 1.0)
        for trial in times
        for event, at in zip(("start", "report", "end"), trial, strict=True)
    ]
    ends = [moment for moment in moments if moment.event == "end"]
    assert gaps_ms(ends) == [1250, 1750]
    assert cost_s(ends) == pytest.approx(2 * (9 - 6) / 2)
    assert parts_ms(moments) == {"plan": [250], "start": [500, 1000], "end": [250, 500]}


def test_every_core_second_of_a_study_has_one_use():
    spans = [Span(1, 12, 14, 1.0), Span(1, 15, 18, 1.0), Span(2, 13, 20, 1.0)]
    found = shares(spans, begin=10, end=23, cores=2)
    assert found["all"] == 26 == sum(seconds for name, seconds in found.items() if name != "all")
    assert found["in training"] == 12
    assert found["before the first epoch"] == 2 + 3
    assert found["waiting for the last trial"] == 2
    assert found["after the last epoch"] == 6


def test_the_memory_of_a_trial_is_that_of_those_after_the_first():
    ends = [Moment("end", 0.0, 0.0, rss) for rss in (900.0, 901.0, 904.0)]
    assert slope_kib(ends) == 2048
