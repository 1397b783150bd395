"""A display and recorders that are told the same."""

import threading

from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.watch.display import PlainDisplay
from dks_study.watch.observers import Observed
from dks_study.watch.progress import Tracker

CELL = Cell("dense", "confirm", 1, 1, 2, {})
GOOD = Outcome("complete", {ACCURACY: 91.25})


class Heard:
    """Keeps what it is told; breaks at an event if asked to."""

    name = "heard"

    def __init__(self, breaks_at=None):
        self.events, self._breaks_at = [], breaks_at

    def _hear(self, event, *details):
        if event == self._breaks_at:
            raise OSError("disk full\nand more")
        self.events.append((event, *details))

    def started(self, cell):
        self._hear("started", cell)

    def epoch(self, cell, metrics):
        self._hear("epoch", cell, metrics)

    def settled(self, cell, outcome, *, earlier=False):
        self._hear("settled", cell, outcome, earlier)

    def end(self):
        self._hear("end")


def tell(display):
    with display:
        display.settled(CELL, GOOD, earlier=True)
        display.started(CELL)
        display.epoch(CELL, {"epoch": 1, "val/loss": 2.0, "training_iteration": 1, "config/name": "x"})
        display.settled(CELL, GOOD)


def test_every_event_reaches_display_and_recorders_without_what_tune_adds(capsys):
    heard = Heard()
    tell(Observed(PlainDisplay(Tracker(small_study())), [heard]))
    assert heard.events == [
        ("settled", CELL, GOOD, True),
        ("started", CELL),
        ("epoch", CELL, {"epoch": 1, "val/loss": 2.0}),
        ("settled", CELL, GOOD, False),
        ("end",),
    ]
    assert "dense-confirm-seed1: val top-1 91.25 %" in capsys.readouterr().out


def test_a_recorder_that_breaks_is_named_once_and_the_others_go_on(capsys):
    broken, heard = Heard(breaks_at="epoch"), Heard()
    tell(Observed(PlainDisplay(Tracker(small_study())), [broken, heard]))
    assert [event for event, *_ in broken.events] == ["settled", "started"]
    assert [event for event, *_ in heard.events] == ["settled", "started", "epoch", "settled", "end"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "heard: disk full (left alone from here on; the study goes on)"
    assert len(lines) == 3


class Gone(PlainDisplay):
    """Shows things where nobody can see them."""

    def note(self, text):
        raise OSError("Input/output error")


def test_a_display_that_breaks_ends_nothing_and_its_thread_does():
    heard = Heard()
    before = threading.active_count()
    tell(Observed(Gone(Tracker(small_study())), [heard]))
    assert [event for event, *_ in heard.events] == ["settled", "started", "epoch", "settled", "end"]
    assert threading.active_count() == before
