"""The end of a trial that hangs: a process of its own waits beside it, and kills it when its time is over.

Not a thread: a step that hangs inside PyTorch or a driver may hold Python's lock for ever.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

import psutil

from dks_study.study.home import Home
from dks_study.study.ledger import OUTCOME, Outcome
from dks_study.study.storage import Place


@contextmanager
def limited(place: Place, limit_s: float | None) -> Iterator[None]:
    """Have this process killed if what is done inside takes more than `limit_s` seconds; None: never.

    The trial in `place` has ended then: its outcome is timed_out.
    """
    if limit_s is None:
        yield
        return
    order = {"place": asdict(place), "limit_s": limit_s, "process": os.getpid()}
    words = [sys.executable, "-m", __name__]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=paths) as waiting:
        try:
            assert waiting.stdin is not None
            waiting.stdin.write(json.dumps(order).encode() + b"\n")  # not in its arguments: a URL may hold a password
            waiting.stdin.flush()
            yield
        finally:
            waiting.kill()


def main() -> None:
    """Wait until the process that gave the order has ended, or its time is over."""
    order = json.loads(sys.stdin.buffer.readline())
    home, limit_s = order["place"].pop("home"), order["limit_s"]
    place = Place(**order["place"], home=Home(**home) if home else None)
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(order["process"])
        if not select.select([sys.stdin], [], [], limit_s)[0]:
            _end(process, place, limit_s)


def _end(process: psutil.Process, place: Place, limit_s: float) -> None:
    """Kill a trial's process, and what it has started, unless the trial has just ended."""
    process.suspend()  # so that it does not end meanwhile
    if place.has(OUTCOME):
        process.resume()
        return
    place.end(Outcome("timed_out", {}, f"trained for longer than trial.time_limit, {limit_s:g} s"))
    for each in (process, *process.children(recursive=True)):
        if each.pid != os.getpid():
            with suppress(psutil.NoSuchProcess):
                each.kill()


if __name__ == "__main__":
    main()
