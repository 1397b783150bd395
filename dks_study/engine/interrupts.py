"""Ctrl-C once: end cleanly. Twice: now. SIGTERM, which batch systems send, counts as Ctrl-C."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
LOOKED_EVERY_S = 0.5
_SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def ending_on_interrupt(end: Callable[[], None], is_lost: Callable[[], bool]) -> Iterator[None]:
    """Call `end` at the first signal; at the second the process ends as if killed, which a study survives.

    Batch systems send SIGTERM to every process: where `is_lost` says that what the study runs on has ended as well,
    there is nothing to wait for.
    """
    seen, over = 0, Event()

    def end_cleanly() -> None:
        end()
        while not over.wait(LOOKED_EVERY_S):
            if is_lost():
                _end_now()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            _end_now()
        # In a thread of its own: `end` prints, and the signal may have come in the middle of a print.
        Thread(target=end_cleanly, daemon=True).start()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_now() -> NoReturn:
    if sys.stdout.isatty():
        os.write(1, _SHOW_CURSOR)
    os.write(2, b"Stopped: nothing that finished is lost. Run the same command again to go on.\n")
    os._exit(INTERRUPTED)  # Ray's processes end when they miss their driver
