"""What is shown while a study runs."""

import io

import pytest
from rich.console import Console
from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.watch.display import LiveDisplay, PlainDisplay, make_display
from dks_study.watch.picture import whole
from dks_study.watch.progress import Tracker

SEARCH = Cell("dense", "search", 0, 99, 1, {})
CONFIRM = Cell("dense", "confirm", 1, 1, 2, {})
GOOD = Outcome("complete", {ACCURACY: 91.25})


def plan(search, confirm):
    return {"search": search, "race": 0, "confirm": confirm}


def test_plain_lines_say_what_ended_and_how_but_no_test_errors(capsys):
    with PlainDisplay(Tracker(small_study())) as display:
        display.started(SEARCH)
        display.settled(SEARCH, GOOD)
        display.settled(CONFIRM, Outcome("complete", {ACCURACY: 90.0, "test/top1/main": 88.5}))
        display.settled(Cell("ds", "search", 0, 99, 1, {}), Outcome("diverged", {}, "not finite"))
        display.settled(Cell("ds", "search", 1, 99, 1, {}), GOOD, earlier=True)
    assert capsys.readouterr().out.splitlines() == [
        "dense-search-0 begins",
        "[ 1/18] dense-search-0: val top-1 91.25 %",
        "[ 2/18] dense-confirm-seed1: val top-1 90.00 %",
        "[ 3/18] ds-search-0: diverged: not finite",
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
        "1 of 18 trials",
    ):
        assert text in shown


def test_a_tracker_counts_by_arm_and_phase():
    tracker = Tracker(small_study(trials=3))
    assert tracker.trials == 3 * (3 + 2 * 2), "as written and as tuned"
    assert (tracker.done("dense", "search"), tracker.failed(), tracker.best("dense")) == (0, 0, None)
    tracker.settle(SEARCH, GOOD)
    tracker.settle(Cell("dense", "search", 1, 99, 1, {}), Outcome("complete", {ACCURACY: 93.0}))
    tracker.settle(Cell("dense", "search", 2, 99, 1, {}), Outcome("failed", {}, "no memory"))
    tracker.settle(CONFIRM, Outcome("complete", {ACCURACY: 99.0}))
    tracker.settle(Cell("ds", "search", 0, 99, 1, {}), Outcome("diverged", {}, "not finite"))
    assert (tracker.done("dense", "search"), tracker.done("dense", "confirm"), tracker.done("ds", "search")) == (
        3,
        1,
        1,
    )
    assert tracker.failed() == 2
    assert tracker.best("dense") == 93.0, "of the search alone"
    assert tracker.best("ds") is None


def test_a_trial_runs_until_it_is_settled():
    tracker = Tracker(small_study())
    tracker.epoch(CONFIRM, 1)
    assert tracker.running == {CONFIRM.id: (CONFIRM, 1)}
    tracker.settle(CONFIRM, GOOD)
    assert tracker.running == {}


@pytest.mark.parametrize("text", ["out of memory", "mat1 [3, 4] and [batch, 5]", "no [/x]", "a\\[b]", ":warning:"])
def test_an_error_is_shown_as_it_is_written(text):
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with LiveDisplay(Tracker(small_study()), console) as display:
        display.settled(CONFIRM, Outcome("failed", {}, text))
        display.settled(SEARCH, Outcome("failed", {}, "of an earlier session"), earlier=True)
    assert f"dense-confirm-seed1: failed: {text}" in console.file.getvalue()
    assert "2 of 18 trials, 2 without a result" in console.file.getvalue()
    assert "of an earlier session" not in console.file.getvalue()


def test_a_long_line_is_not_broken_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=40)
    with LiveDisplay(Tracker(small_study()), console) as display:
        display.note("word " * 30 + "end")
    assert "word " * 30 + "end" in console.file.getvalue()


def test_the_picture_follows_what_runs_and_ends():
    console = Console(file=io.StringIO(), width=120, record=True)
    display = LiveDisplay(Tracker(small_study()), console)

    def picture():
        console.print(display._draw())
        return console.export_text()

    display.started(SEARCH)
    display.started(CONFIRM)
    assert "search-0 0/1, confirm-seed1 0/2" in picture()
    display.epoch(CONFIRM, {"epoch": 1.0})
    assert "confirm-seed1 1/2" in picture()
    display.settled(CONFIRM, Outcome("complete", {ACCURACY: 90.0}))
    shown = picture()
    assert "confirm-seed1" not in shown
    assert "search-0 0/1" in shown
    assert "1 of 18 trials" in shown
    dense = next(line for line in shown.splitlines() if " dense " in line)
    assert [cell.strip() for cell in dense.split("│")[1:6]] == ["dense", "0/2", "", "1/4", "search-0 0/1"]


def test_the_kind_of_display_follows_the_console():
    study = small_study()
    assert type(make_display(study, Console(file=io.StringIO()))) is PlainDisplay
    assert type(make_display(study, Console(file=io.StringIO(), force_terminal=True))) is LiveDisplay


def timed(seconds):
    return Outcome("complete", {ACCURACY: 91.25}, seconds=seconds)


def test_the_time_left_follows_from_what_trials_took_whenever_they_began():
    study = small_study(trials=2, epochs=10)
    short = study.search.model_copy(update={"epochs": 1})  # 3 arms x (2 x 1 + 2 x 2 x 10) epochs
    tracker = Tracker(study.model_copy(update={"search": short}))
    for arm, seconds in (("baseline", 1.0), ("ds", 2.0), ("dense", 3.0)):
        assert tracker.seconds_left() is None
        tracker.start(Cell(arm, "search", 0, 99, 1, {}))
        tracker.settle(Cell(arm, "search", 0, 99, 1, {}), timed(seconds))
    assert tracker.seconds_left() == pytest.approx(41 * (1.0 + 2.0 + 3.0))
    tracker.start(Cell("dense", "search", 1, 99, 1, {}))
    tracker.start(CONFIRM)  # two at a time from here on
    assert tracker.seconds_left() == pytest.approx((41 * 6.0 - 8 * 3.0) / 2), "CONFIRM itself has but two epochs"
    tracker.epoch(CONFIRM, 1)
    assert tracker.seconds_left() == pytest.approx((41 * 6.0 - 9 * 3.0) / 2)
    tracker.settle(CONFIRM, timed(12.0))
    assert tracker.seconds_left() == pytest.approx((41 * 3.0 + 1 * 3.0 + 30 * 6.0) / 2), "a confirmation tells best"


def test_with_the_pace_of_earlier_studies_two_epochs_tell_the_time_left():
    study = small_study(trials=0, epochs=10)
    tracker = Tracker(study, {(arm, "confirm"): (0.5,) for arm in study.arms})
    assert tracker.seconds_left() is None, "nothing runs yet"
    cell = Cell("dense", "confirm", 0, 0, 10, {})
    tracker.start(cell)
    tracker.epoch(cell, 1, 100.0)
    assert tracker.seconds_left() is None
    tracker.epoch(cell, 2, 101.0)  # twice as long as then
    assert tracker.seconds_left() == pytest.approx(58 * 1.0)


def test_the_time_left_is_told_in_minutes_and_never_below_nothing(capsys):
    tracker = Tracker(small_study(trials=0, arms=("baseline", "dense"), epochs=10, report_seeds=(1, 2)))  # 40 epochs
    cells = [Cell(arm, "confirm", seed - 1, seed, 10, {}) for seed in (1, 2) for arm in ("dense", "baseline")]
    with PlainDisplay(tracker) as display:
        for cell in cells[:2]:
            display.started(cell)
            display.settled(cell, timed(50.0))
    assert capsys.readouterr().out.splitlines()[-1].endswith("val top-1 91.25 %, about 1 min 40 s left")
    for cell in cells[2:]:
        tracker.settle(cell, timed(50.0))
    assert tracker.seconds_left() == 0
    tracker.epoch(cells[0], 10)  # a trial that is trained again
    assert tracker.seconds_left() == 0


def several(**search):
    study = small_study(trials=3, arms=("baseline", "dense"))
    more = {"objectives": ["val/top1/main", "cost/macs_train"], "confirm_at_most": 3, **search}
    return study.model_copy(update={"search": study.search.model_copy(update=more)})


def test_a_front_is_planned_at_its_size_once_its_search_is_over():
    tracker = Tracker(several())
    assert tracker.trials == 2 * (3 + (1 + 3) * 2), "the most it can be"
    assert tracker.open_fronts == {"baseline", "dense"}
    costs = {"dense": [1.0, 2.0, 3.0], "baseline": [1.0, 1.0, 1.0]}
    for arm, accuracies in {"dense": [50.0, 60.0, 55.0], "baseline": [50.0, 60.0, 55.0]}.items():
        for index, (accuracy, cost) in enumerate(zip(accuracies, costs[arm], strict=True)):
            metrics = {ACCURACY: accuracy, "cost/macs_train": cost}
            setting = {"optimiser.lr": 0.1 * (index + 1)}
            tracker.settle(Cell(arm, "search", index, 99, 1, setting), Outcome("complete", metrics))
    assert tracker.planned == {"baseline": plan(3, 2 * 2), "dense": plan(3, 3 * 2)}
    assert tracker.open_fronts == set()


def test_while_a_front_is_open_its_size_is_at_most_so_much(capsys):
    with PlainDisplay(Tracker(several())) as display:
        display.settled(SEARCH, Outcome("complete", {ACCURACY: 50.0, "cost/macs_train": 1.0}))
    assert capsys.readouterr().out.startswith("[ 1/at most 22] dense-search-0")
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with LiveDisplay(Tracker(several()), console):
        pass
    assert "0/at most 8" in console.file.getvalue()


def test_an_arm_whose_search_gave_nothing_is_not_confirmed():
    tracker = Tracker(small_study(trials=1, arms=("baseline", "dense")))
    tracker.settle(SEARCH, Outcome("diverged", {}, "not finite"))
    assert tracker.planned == {"baseline": plan(1, 4), "dense": plan(1, 0)}


def test_a_race_is_shown_and_an_arm_as_written_that_won_it_is_confirmed_once():
    study = small_study(trials=2, arms=("baseline", "dense"))
    racing = study.search.model_copy(update={"finalists": 2, "race_seeds": 2})
    console = Console(file=io.StringIO(), width=120, record=True)
    tracker = Tracker(study.model_copy(update={"search": racing}))
    assert tracker.planned["dense"] == {"search": 2, "race": 4, "confirm": 4}
    tracker.settle(Cell("dense", "race", 0, 101, 2, {}), GOOD)
    tracker.settle(Cell("dense", "confirm", 0, 0, 2, {}, choice="both"), GOOD)
    assert tracker.planned["dense"]["confirm"] == 3
    console.print(whole(tracker))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.export_text().splitlines()]
    assert ["dense", "0/2", "1/4", "", "1/3", ""] in rows
