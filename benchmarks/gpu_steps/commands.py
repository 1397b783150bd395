"""Commands that a step runs: they are stopped before the step is, so that it can still say what they said."""

import math
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from gpu_steps.saying import left_s, quote

LAST_WORDS_S = 10.0  # so much of a step's time is kept for what it says at the end
STACKS_S = 2.0  # so long a command may take to say where it hangs
OURS = "dks_study"


@dataclass(frozen=True)
class Ended:
    """How a command ended, what it said, and where it hung; no status: it was stopped."""

    status: int | None
    said: str
    stacks: str = ""

    def __str__(self) -> str:
        """Return how it ended, in words."""
        return "was stopped, as it took too long" if self.status is None else f"ended with status {self.status}"


def run_command(words: Sequence[str]) -> Ended:
    """Run a command to its end, or until little of the step's time is left; show what it said if it did not end well.

    Not through a pipe, which would stay open as long as anything that it has started lives.
    """
    patience = left_s() - LAST_WORDS_S
    with tempfile.TemporaryFile() as out:
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            status: int | None = process.wait(None if patience == math.inf else max(1.0, patience))
            size = None
        except subprocess.TimeoutExpired:
            status, size = None, os.fstat(out.fileno()).st_size
            _stop(process)
        out.seek(0)
        words_said, stacks = (part.decode(errors="replace") for part in (out.read(size), out.read()))
    lines = [line for line in stacks.splitlines() if not line.startswith("Extension modules")]  # hundreds of names
    ended = Ended(status, words_said, "\n".join(lines))
    if ended.status != 0:
        quote(f"The command {ended}", ended.said)
    if ended.stacks:
        quote("Where it hung", ended.stacks)
    return ended


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command and what it has started, once each of our processes has said where it hangs."""
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in tree:
        with suppress(psutil.Error):
            if any(OURS in word for word in each.cmdline()):
                each.send_signal(signal.SIGABRT)  # Python's fault handler says the stack of every thread
    time.sleep(STACKS_S)
    for each in tree:
        with suppress(psutil.Error):
            each.kill()
    process.wait()
