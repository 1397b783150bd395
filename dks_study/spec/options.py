"""Command lines whose mistakes are told in one line, as all others are, and values that several of them take."""

import argparse
import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NoReturn

from dks_study.spec.yamldoc import SpecError


class OptionParser(argparse.ArgumentParser):
    """An argument parser that raises what is wrong, instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise the one line.

        Raises:
            SpecError: always.
        """
        raise SpecError(message.removeprefix("argument "))


def above_0(unit: str, most: float = math.inf) -> Callable[[str], float]:
    """Return what reads a number of `unit` above 0, finite and at most `most`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"must be a number of {unit} above 0, got {text!r}")
        if value > most:
            raise argparse.ArgumentTypeError(f"must be at most {most:,} {unit}, got {text!r}")
        return value

    return read


def whole(text: str) -> int | None:
    """Return the whole number that a text of at most ten digits is, 0 or more; None if it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else None


def some_text(what: str) -> Callable[[str], str]:
    """Return what reads a text that says something; `what` it must be."""

    def read(text: str) -> str:
        if not text.strip():
            raise argparse.ArgumentTypeError(f"must be {what}, got {text!r}")
        return text

    return read


def next_time(text: str, now_s: float | None = None) -> float:
    """Return when it is next so late by the clock, 00:00 to 23:59, in seconds of time.time().

    `now_s` is the time on that clock; None: now.
    """
    try:
        clock = datetime.strptime(text, "%H:%M")
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a time of the day such as 08:00, got {text!r}") from None
    now = datetime.fromtimestamp(time.time() if now_s is None else now_s)
    then = now.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
    return (then if then > now else then + timedelta(days=1)).timestamp()


def add_results(parser: argparse.ArgumentParser, about: str) -> None:
    """Add --results, a folder that is `results` where nothing is said."""
    parser.add_argument("--results", metavar="FOLDER", type=some_text("a folder"), default="results", help=about)


# What reads the options of where a study runs, is kept and is shown; `run` from Python has them by these names.
WHERE: Mapping[str, Callable[[str], object]] = {
    "address": some_text("auto or HOST:PORT"),
    "optuna_storage": some_text("a URL"),
    "storage": some_text("a folder or a URL"),
    "disk_gib": above_0("GiB"),
    "reuse": some_text("a folder or a URL"),
    "mlflow": some_text("a URI"),
    "wandb": some_text("a project"),
}
