"""Ctrl-C once: end cleanly. Twice: now. SIGTERM, which batch systems send, counts as Ctrl-C.

The command is two processes (dks_study/__main__.py): the one that waits forwards what it is sent. A signal that was
sent to both is one signal.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from types import FrameType
from typing import NoReturn

EXIT_BAD_INPUT, EXIT_LOST, INTERRUPTED = 2, 3, 130
DIRECT, FORWARDED = (signal.SIGINT, signal.SIGTERM), signal.SIGUSR2  # Tune takes SIGUSR1 for itself
SIGNALS = (*DIRECT, FORWARDED)
LOOKED_EVERY_S = 0.5
AGAIN = "nothing that finished is lost. Run the same command again to go on."
_SHOW_CURSOR = b"\x1b[?25h"


def end_at_once_on_signal() -> None:
    """Let a signal end this process with one line: before trials run, and after, there is nothing to wait for."""
    for number in SIGNALS:
        signal.signal(number, lambda _signal, _frame: _heard())


@contextmanager
def ending_on_interrupt(end: Callable[[], None], is_lost: Callable[[], bool]) -> Iterator[None]:
    """Call `end` at the first signal; at the second the process ends as if killed, which a study survives.

    Batch systems send SIGTERM to every process: where `is_lost` says that what the study runs on has ended as well,
    there is nothing to wait for.
    """
    seen: Counter[bool] = Counter()
    over = Event()

    def end_cleanly() -> None:
        end()
        while not over.wait(LOOKED_EVERY_S):
            if is_lost():
                _end_now()

    # In a thread of its own: `end` prints, and the signal may have come in the middle of a print.
    ending = Thread(target=end_cleanly, daemon=True)

    def handle(number: int, _frame: FrameType | None) -> None:
        seen[number == FORWARDED] += 1
        if max(seen.values()) > 1:
            _heard()
        if seen.total() == 1:
            ending.start()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        if ending.ident:
            ending.join()  # no thread may live when Ray shuts down


def _heard() -> NoReturn:
    for number in SIGNALS:  # the same signal may come a second way
        signal.signal(number, lambda _signal, _frame: None)
    _end_now()


def _end_now() -> NoReturn:
    with suppress(OSError):  # nobody is there to read it
        if sys.stdout.isatty():
            os.write(1, _SHOW_CURSOR)
        os.write(2, f"Stopped: {AGAIN}\n".encode())
    os._exit(INTERRUPTED)  # Ray's processes end when they miss their driver
