"""What every step shares: on which device it runs, and how it says what it found."""

import argparse
import sys
from collections.abc import Callable, Sequence

import torch

REHEARSE = "--rehearse"


def asked(about: str | None, **choices: Sequence[str]) -> argparse.Namespace:
    """Return the options of a step: `rehearse`, and one of each of `choices`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(REHEARSE, action="store_true", help="on the CPU, with small networks")
    for name, values in choices.items():
        parser.add_argument(f"--{name}", choices=list(values), required=True)
    return parser.parse_args()


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


class Verdicts:
    """What was checked: every failure is said where it is found, and makes the step a failed one at its end."""

    def __init__(self) -> None:
        """Start with nothing found."""
        self._failed = 0

    def check(self, holds: bool, what: str) -> bool:
        """Say whether `what` holds, in a line."""
        say(f"- {'holds' if holds else '**DOES NOT HOLD**'}: {what}")
        self._failed += not holds
        return holds

    def attempt(self, action: Callable[[], Sequence[str]]) -> Sequence[str]:
        """Return the cells of `action`, or what it raised: the rows after it are still measured."""
        try:
            return action()
        except Exception as error:  # whatever a device that was never tried comes up with
            self._failed += 1
            lines = str(error).strip().splitlines()
            return (f"**{type(error).__name__}** {lines[0][:200] if lines else ''}".replace("|", "/"),)

    def end(self) -> None:
        """End the process, with status 1 if anything failed."""
        sys.exit(1 if self._failed else 0)
