"""What every step shares: on which device it runs, how long it may take, and how it says what it found."""

import argparse
import faulthandler
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence

import torch

from gpu_steps.running import MOST_CHARACTERS, UNTIL

REHEARSE = "--rehearse"
STACK_S = 3.0  # so long before that it says where it hangs


def asked(about: str | None, **choices: Sequence[str]) -> argparse.Namespace:
    """Return the options of a step: `rehearse`, and one of each of `choices`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(REHEARSE, action="store_true", help="on the CPU, with small networks")
    for name, values in choices.items():
        parser.add_argument(f"--{name}", choices=list(values), required=True)
    if left_s() < math.inf:
        faulthandler.dump_traceback_later(max(0.1, left_s() - STACK_S))
    return parser.parse_args()


def left_s() -> float:
    """Return how long this step may go on, in seconds; without a limit for ever."""
    return max(0.0, float(os.environ[UNTIL]) - time.time()) if UNTIL in os.environ else math.inf


def device_of(options: argparse.Namespace) -> torch.device:
    """Return the first GPU, or the CPU in a rehearsal, which computes with one thread beside whatever else runs."""
    if not options.rehearse:
        return torch.device("cuda", 0)
    torch.set_num_threads(1)
    return torch.device("cpu")


def say(line: str = "") -> None:
    """Print a line at once: a step may be cut."""
    print(line, flush=True)


def row(*cells: str) -> None:
    """Print a row of a table."""
    say(f"| {' | '.join(cells)} |")


def header(*cells: str) -> None:
    """Print the first two lines of a table."""
    say()
    row(*cells)
    row(*("---" for _ in cells))


def quote(about: str, text: str) -> None:
    """Print the end of a longer text in a block of its own."""
    say(f"\n{about}:\n\n```\n{text.strip()[-MOST_CHARACTERS:]}\n```\n")


class Verdicts:
    """What was checked: every failure is said where it is found, and makes the step a failed one at its end."""

    def __init__(self) -> None:
        """Start with nothing found."""
        self.failed = 0

    def check(self, holds: bool, what: str) -> bool:
        """Say whether `what` holds, in a line."""
        say(f"- {'holds' if holds else '**DOES NOT HOLD**'}: {what}")
        self.failed += not holds
        return holds

    def attempt(self, what: str, action: Callable[[], object]) -> bool:
        """Return whether `action` could be done; what it raised is said, and what comes after it is still tried."""
        try:
            action()
        except Exception as error:  # whatever a device that was never tried comes up with
            say(f"- {what}: {self.raised(error)}")
            quote("Its traceback", traceback.format_exc())
            return False
        return True

    def raised(self, error: Exception) -> str:
        """Count an error; return its type and its first line."""
        self.failed += 1
        lines = str(error).strip().splitlines()
        return f"**{type(error).__name__}** {lines[0][:200] if lines else ''}".strip().replace("|", "/")

    def end(self) -> None:
        """End the process, with status 1 if anything failed."""
        sys.exit(1 if self.failed else 0)


class Table:
    """A table that is said row by row; what a row raised stands below it, and then the table begins anew."""

    def __init__(self, verdicts: Verdicts, *cells: str) -> None:
        """Begin it with the first row."""
        self._verdicts, self._cells, self._open = verdicts, cells, False

    def add(self, *cells: str) -> None:
        """Say a row."""
        if not self._open:
            header(*self._cells)
            self._open = True
        row(*cells)

    def attempt(self, title: str, action: Callable[[], Sequence[str]]) -> bool:
        """Say the row of `title` and the cells of `action`, or what it raised; return whether it could be measured."""
        try:
            cells = action()
        except Exception as error:  # as above
            self.add(title, self._verdicts.raised(error))
            quote("Its traceback", traceback.format_exc())
            self._open = False
            return False
        self.add(title, *cells)
        return True
