"""What is shown while a study runs."""

import io

import pytest
from rich.console import Console
from studies import small_study

from dks_study.ledger import Cell, Outcome
from dks_study.planner import OBJECTIVE
from dks_study.progress import LiveDisplay, PlainDisplay, Tracker, make_display

SEARCH = Cell("dense", "search", 0, 99, 1, {})
CONFIRM = Cell("dense", "confirm", 1, 1, 2, {})
GOOD = Outcome("complete", {OBJECTIVE: 91.25})


def test_plain_lines_say_what_ended_and_how(capsys):
    with PlainDisplay(Tracker(small_study())) as display:
        display.started(SEARCH)
        display.settled(SEARCH, GOOD)
        display.settled(CONFIRM, Outcome("complete", {OBJECTIVE: 90.0, "test/top1/main": 88.5}))
        display.settled(Cell("ds", "search", 0, 99, 1, {}), Outcome("diverged", {}, "not finite"))
        display.settled(Cell("ds", "search", 1, 99, 1, {}), GOOD, earlier=True)
    assert capsys.readouterr().out.splitlines() == [
        "[ 1/12] dense-search-0: val top-1 91.25 %",
        "[ 2/12] dense-confirm-seed1: val top-1 90.00 %, test top-1 88.50 %",
        "[ 3/12] ds-search-0: diverged: not finite",
    ]


def test_a_terminal_gets_a_table_of_arms_with_best_and_running():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with LiveDisplay(Tracker(small_study()), console) as display:
        display.settled(SEARCH, GOOD)
        display.started(CONFIRM)
        display.epoch(CONFIRM, {"epoch": 1.0})
        display.note("Ray dashboard: here")
    shown = console.file.getvalue()
    for text in (
        "baseline",
        "dense",
        "91.2",
        "1/2",
        "0/2",
        "confirm-seed1 1/2",
        "Ray dashboard: here",
        "1 of 12 trials",
    ):
        assert text in shown


def test_the_kind_of_display_follows_the_console():
    study = small_study()
    assert type(make_display(study, Console(file=io.StringIO()))) is PlainDisplay
    assert type(make_display(study, Console(file=io.StringIO(), force_terminal=True))) is LiveDisplay


def test_time_left_follows_from_the_epochs_of_this_session(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("dks_study.progress.time.monotonic", lambda: clock[0])
    tracker = Tracker(small_study(trials=2, epochs=10))  # 3 arms x (2 x 1 + 2 x 10) = 66 epochs
    tracker.settle(SEARCH, GOOD)  # in an earlier session
    assert tracker.seconds_left() is None
    for epoch in range(1, 6):
        tracker.epoch(CONFIRM, epoch)
    clock[0] += 10
    assert tracker.seconds_left() == pytest.approx((66 - 1 - 5) * 2.0)
