"""Ctrl-C once: end cleanly. Twice: now. SIGTERM, which batch systems send, counts as Ctrl-C."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from types import FrameType

INTERRUPTED = 130
_SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def ending_on_interrupt(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` at the first signal; at the second the process ends as if killed, which a study survives."""
    seen = 0

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            # In a thread of its own: `end` prints, and the signal may have come in the middle of a print.
            Thread(target=end, daemon=True).start()
            return
        if sys.stdout.isatty():
            os.write(1, _SHOW_CURSOR)
        os.write(2, b"Stopped: nothing that finished is lost. Run the same command again to go on.\n")
        os._exit(INTERRUPTED)  # Ray's processes end when they miss their driver

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
