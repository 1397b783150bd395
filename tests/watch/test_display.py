"""What is shown fits where it is shown: small terminals, logs, terminals that cannot redraw."""

import io
import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console
from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.watch.display import LiveDisplay, PlainDisplay
from dks_study.watch.picture import picture
from dks_study.watch.progress import Tracker

GOOD = Outcome("complete", {ACCURACY: 91.25})
ARMS = 60


def many_arms(tracker_of=Tracker):
    """A study of sixty arms: the first ten are done, the last two train, one has begun."""
    study = small_study(trials=0, arms=("baseline",), report_seeds=(0, 1))
    names = [f"arm{number:02d}" for number in range(ARMS)]
    table = study.table.model_copy(update={"reference": names[0]})
    tracker = tracker_of(study.model_copy(update={"arms": {name: {} for name in names}, "table": table}))
    for number in range(10):
        for seed in (0, 1):
            tracker.settle(Cell(names[number], "confirm", seed, seed, 2, {}), GOOD)
    tracker.settle(Cell(names[10], "confirm", 0, 0, 2, {}), GOOD)
    for name in names[-2:]:
        tracker.start(Cell(name, "confirm", 0, 0, 2, {}), 1)
    return tracker


def lines(tracker, height, width=100):
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(picture(tracker, console))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("height", [4, 8, 24, 50])
def test_in_a_small_terminal_the_summary_comes_first_then_what_runs_then_a_count_of_the_rest(height):
    shown = lines(many_arms(), height)
    assert len(shown) < height
    assert shown[0].startswith("21 of 120 trials")
    rows = [line.split()[1] for line in shown if line.startswith("│ arm")]
    assert rows[:3] == ["arm58", "arm59", "arm10"][: len(rows)]
    rest = ARMS - len(rows)
    assert shown[-1].startswith(f"and {rest} more arms: ")
    counts = [int(word) for word in shown[-1].replace(":", " ").split() if word.isdigit()]
    assert counts[0] == sum(counts[1:]) == rest
    if height == 24:
        assert len(rows) == 17
        assert shown[-1] == "and 43 more arms: 33 to come, 10 done"


def test_a_terminal_with_room_for_all_shows_all_with_the_summary_last():
    shown = lines(many_arms(), 70)
    assert sum(line.startswith("│ arm") for line in shown) == ARMS
    assert shown[-1].startswith("21 of 120 trials")


def test_rows_of_a_narrow_terminal_are_cut_and_not_wrapped():
    shown = lines(many_arms(), 24, width=40)
    assert len(shown) < 24
    assert any("arm58" in line for line in shown), "but for the names of arms"


def test_the_last_picture_has_every_arm():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=24)
    with LiveDisplay(many_arms(), console):
        pass
    last = console.file.getvalue()
    assert all(f"arm{number:02d}" in last[last.rindex("┏") :] for number in range(ARMS))


@pytest.mark.parametrize("terminal", [False, True])
def test_no_thread_outlives_a_display(terminal):
    before = threading.active_count()
    console = Console(file=io.StringIO(), force_terminal=True)
    with LiveDisplay(many_arms(), console) if terminal else PlainDisplay(many_arms()):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_in_a_log_silence_is_broken_by_what_runs(capsys):
    with PlainDisplay(many_arms(), quiet_s=0.3) as display:
        display.note("spoken")
        time.sleep(1.0)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "spoken"
    assert 2 <= len(rest) <= 3
    assert set(rest) == {"running: arm58-confirm-seed0 1/2, arm59-confirm-seed0 1/2; 21 of 120 trials"}


def test_what_has_begun_is_said_until_the_first_trial_has_ended(capsys):
    cells = [Cell("arm20", "confirm", seed, seed, 2, {}) for seed in (0, 1)]
    with PlainDisplay(many_arms()) as display:
        display.started(cells[0])
        display.settled(cells[0], GOOD)
        display.started(cells[1])
    assert capsys.readouterr().out.splitlines() == [
        "arm20-confirm-seed0 begins",
        "[ 22/120] arm20-confirm-seed0: val top-1 91.25 %",
    ]


KIND = """
from studies import small_study
from dks_study.watch.display import make_display, standard_console
print(type(make_display(small_study(), standard_console())).__name__)
"""


@pytest.mark.parametrize(
    ("on_terminal", "environment", "kind"),
    [
        (True, {"TERM": "xterm"}, "LiveDisplay"),
        (True, {"TERM": "dumb"}, "PlainDisplay"),
        (True, {"TERM": "dumb", "FORCE_COLOR": "1"}, "PlainDisplay"),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}, "PlainDisplay"),
        (False, {"TERM": "xterm", "TTY_COMPATIBLE": "1"}, "PlainDisplay"),
    ],
)
def test_only_a_terminal_that_can_be_redrawn_is(on_terminal, environment, kind):
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", KIND]
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    paths = os.pathsep.join(sys.path)
    with subprocess.Popen(
        words, env={**kept, "PYTHONPATH": paths, **environment}, stdout=theirs if on_terminal else subprocess.PIPE
    ) as process:
        process.wait(timeout=60)
        told = os.read(ours, 1000) if on_terminal else process.stdout.read()
    os.close(ours)
    os.close(theirs)
    assert told.decode().strip() == kind


@pytest.mark.parametrize("width", [10, 14, 20, 30, 45])
@pytest.mark.parametrize("height", [6, 200])
def test_in_a_narrow_terminal_numbers_are_whole_or_left_out(width, height):
    shown = lines(many_arms(), height, width)
    assert max(map(len, shown)) <= width
    numbers = {"0/0", "0/2", "1/2", "2/2", "91.2", "21", "120", "of", "60"}
    words = {word for line in shown for word in re.findall(r"[\d./]*\d[\d./]*…?", line) if line[0] not in "│┃"}
    rest = {str(count) for count in range(61)}  # arms that are not shown
    assert words <= numbers | rest, shown
    for line in shown:
        if line.startswith("│ arm"):
            counts = [cell.strip() for cell in line.split("│")[2:-2]]
            assert re.fullmatch(r"0/0 (91\.2)? ?[012]/2", " ".join(counts)), line
