"""What a study shows while it runs: a live table on a terminal, lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from dks_study.spec.study import StudySpec
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.watch.estimate import Pace
from dks_study.watch.picture import ending, left, picture, running_line, whole
from dks_study.watch.progress import Display, Metrics, Tracker

QUIET_S = 60.0  # the longest silence in a log
REDRAWN_EVERY_S = 0.25


class _Ticker:
    """Does something again and again in a thread of its own, which has ended when `stop` returns."""

    def __init__(self, act: Callable[[], None], every_s: float) -> None:
        self._act, self._every_s, self._over = act, every_s, Event()
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.ident:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self._act()


class PlainDisplay:
    """One line per event, for logs and pipes; in a long epoch a line every minute."""

    def __init__(self, tracker: Tracker, quiet_s: float = QUIET_S) -> None:
        """Show what `tracker` counts."""
        self._tracker, self._quiet_s, self._spoke = tracker, quiet_s, time.monotonic()
        self._ticker = _Ticker(self._break_silence, quiet_s / 60)
        self._first_ended = False

    def __enter__(self) -> Self:
        """Begin to watch for silence."""
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End that."""
        self._ticker.stop()

    def _break_silence(self) -> None:
        if time.monotonic() - self._spoke >= self._quiet_s:
            self.note(running_line(self._tracker))

    def note(self, text: str) -> None:
        """Print one line."""
        self._spoke = time.monotonic()
        print(text, flush=True)

    def started(self, cell: Cell) -> None:
        """Say what has begun, until the first trial of the session has ended: from there on that says enough."""
        self._tracker.start(cell)
        if not self._first_ended:
            self.note(f"{cell.id} begins")

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """Count, say nothing."""
        self._tracker.epoch(cell, int(metrics["epoch"]))

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """Print how the trial ended."""
        self._tracker.settle(cell, outcome)
        if not earlier:
            self._first_ended = True
            done, trials = len(self._tracker.settled), self._tracker.trials
            most = "at most " if self._tracker.open_fronts else ""
            rest = left(self._tracker.seconds_left())
            self.note(f"[{done:>{len(str(trials))}}/{most}{trials}] {cell.id}: {ending(outcome)}{rest}")


class LiveDisplay:
    """A table that is redrawn in place."""

    def __init__(self, tracker: Tracker, console: Console) -> None:
        """Draw on `console`."""
        self._tracker, self._console, self._over = tracker, console, False
        # Not by rich's own thread, which may outlive its display: no thread may live when Ray shuts down.
        self._live = Live(console=console, get_renderable=self._draw, auto_refresh=False)
        self._ticker = _Ticker(self._live.refresh, REDRAWN_EVERY_S)

    def __enter__(self) -> Self:
        """Start drawing."""
        self._live.start()
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture on the terminal, whole."""
        self._ticker.stop()
        self._over = True
        self._live.stop()

    def note(self, text: str) -> None:
        """Print one line above the table."""
        self._console.print(Text(text), soft_wrap=True)

    def started(self, cell: Cell) -> None:
        """Count the trial as running."""
        self._tracker.start(cell)

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """Count the epoch."""
        self._tracker.epoch(cell, int(metrics["epoch"]))

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """Count the trial; only a failure is worth a line that stays."""
        self._tracker.settle(cell, outcome)
        if outcome.lost and not earlier:
            self.note(f"{cell.id}: {ending(outcome)}")

    def _draw(self) -> RenderableType:
        return whole(self._tracker) if self._over else picture(self._tracker, self._console)


def standard_console() -> Console:
    """Return a console on standard output that is a terminal only where a picture can be redrawn in place.

    Not a file, whatever FORCE_COLOR says, and not a terminal without a movable cursor.
    """
    movable = os.environ.get("TERM") not in ("dumb", "unknown")
    return Console(force_terminal=sys.stdout.isatty() and movable, force_jupyter=False)


def make_display(study: StudySpec, console: Console, earlier: Pace | None = None) -> Display:
    """Return a live table on a terminal, plain lines elsewhere; `earlier` is what other studies tell of the pace."""
    tracker = Tracker(study, earlier)
    return LiveDisplay(tracker, console) if console.is_terminal else PlainDisplay(tracker)
