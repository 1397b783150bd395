"""How gpu_check.py runs a step: in a session of its own, under its limit, and with an end of all that it has started.

Only of what Python brings: gpu_check.py is imported where nothing else is installed yet.
"""

import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
UNTIL = "GPU_CHECK_UNTIL"  # in a step's environment: when it is cut, in seconds since 1970
DYING_S = 10.0  # so long is waited for killed processes to be gone
MOST_CHARACTERS = 4000  # of a traceback, or of what a command has said


@dataclass(frozen=True)
class Step:
    """One command that prints Markdown, and how long it may take."""

    title: str
    words: tuple[str, ...]
    limit_s: float


@dataclass(frozen=True)
class Done:
    """How a step ended, and what it printed until then."""

    state: str = "not run"
    seconds: float = 0.0
    said: str = ""


def run(step: Step, limit_s: float) -> Done:
    """Run `step` for at most `limit_s`, and end all that it has started, however it ends."""
    paths = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    more = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "RAY_USAGE_STATS_ENABLED": "0"}
    more[UNTIL] = str(time.time() + limit_s)
    started, opened = time.monotonic(), {"mode": "w+", "encoding": "utf-8", "errors": "replace"}
    with tempfile.TemporaryFile(**opened) as out, tempfile.TemporaryFile(**opened) as err:  # type: ignore[call-overload]
        words, environment = step.words, {**os.environ, **more}
        process = subprocess.Popen(words, stdout=out, stderr=err, env=environment, start_new_session=True)
        try:
            status = process.wait(limit_s)
            state = "done" if status == 0 else f"**failed** (status {status})"
        except subprocess.TimeoutExpired:
            state = f"**cut** after {limit_s:.0f} s"
        finally:
            end_session(process)
        out.seek(0)
        err.seek(0)
        said, complaints = out.read(), err.read()
    if state != "done" and complaints.strip():
        said += f"\n\nThe end of its standard error:\n\n```\n{complaints.strip()[-MOST_CHARACTERS:]}\n```"
    return Done(state, time.monotonic() - started, said)


def end_session(process: "subprocess.Popen[bytes]") -> None:
    """Kill all processes of the session that `process` leads: Ray's outlive who started them, and stay in it."""
    end = time.monotonic() + DYING_S
    # One that is about to die may still start another; and the next step needs the memory that they hold.
    while (living := _living(process.pid)) and time.monotonic() < end:
        for number in living:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.05)
    with suppress(subprocess.TimeoutExpired):  # one that waits for a broken driver cannot be killed
        process.wait(1)


def _living(session: int) -> list[int]:
    """Return the processes of a session but for those that have ended: while one is left, no other has its number."""
    import psutil

    found = []
    for number in psutil.pids():
        with suppress(OSError, psutil.Error):
            if os.getsid(number) == session and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
                found.append(number)
    return found
