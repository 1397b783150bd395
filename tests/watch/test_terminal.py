"""The live table on a real terminal."""

import fcntl
import os
import pty
import struct
import sys
import termios
import threading
from contextlib import suppress

import pytest
from rich.console import Console
from rich.text import Text
from studies import small_study
from test_progress import GOOD

from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.watch.display import LiveDisplay, make_display


@pytest.fixture
def terminal():
    """A pseudo-terminal of 100 x 30, and what was written to it: (file to write to, function that returns the text)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    parts = []

    def read():
        with suppress(OSError):  # its other end is closed
            while data := os.read(ours, 65536):
                parts.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    file = os.fdopen(theirs, "w")

    def text():
        file.close()
        reader.join(timeout=10)
        return b"".join(parts).decode()

    yield file, text
    file.close()
    reader.join(timeout=10)
    os.close(ours)


def test_a_real_terminal_is_drawn_on_while_trials_begin_and_end(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    file, text = terminal
    display = make_display(small_study(trials=400), Console(file=file))
    assert type(display) is LiveDisplay
    stop, errors = threading.Event(), []
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that a thread is interrupted wherever it can be

    def draw():
        while not stop.is_set():
            try:
                display._draw()
            except Exception as error:
                errors.append(error)

    painters = [threading.Thread(target=draw) for _ in range(2)]
    for painter in painters:
        painter.start()
    with display:
        for index in range(400):
            cell = Cell("dense", "search", index, 99, 1, {})
            display.started(cell)
            display.epoch(cell, {"epoch": 1.0})
            display.settled(cell, Outcome("failed", {}, "no memory") if index == 7 else GOOD)
        stop.set()
        for painter in painters:
            painter.join()
    sys.setswitchinterval(often)
    assert errors == []
    shown = text()
    assert "\x1b[?25l" in shown, "the cursor is hidden while it draws"
    assert shown.count("\x1b[?25h") >= 1, "and shown again at the end"
    assert "dense-search-7: failed: no memory" in shown
    last = shown[shown.rindex("┏") :]
    assert "400/400" in last
    assert "400 of 1212 trials, 1 without a result" in last
    assert max(len(Text.from_ansi(line).plain) for line in last.splitlines()) <= 100
