"""The command, as two processes: one that works, and one that waits for it and says how it ended.

Ray's core ends the process that it runs in from C++, with exit status 1 and without a word to Python, when its node or
its head is lost or when its own shutdown goes wrong. Who waits outside can tell that from what the work itself said,
and can end at once what else the work has started: some of Ray's processes take minutes to notice that they are alone.
"""

import math
import os
import signal
import sys
import time
from contextlib import suppress

from dks_study.engine.interrupts import (
    AGAIN,
    DIRECT,
    EXIT_BAD_INPUT,
    EXIT_LOST,
    FORWARDED,
    INTERRUPTED,
    SIGNALS,
    end_at_once_on_signal,
)
from dks_study.engine.notifying import notify
from dks_study.watch.output import lost, outlive_the_reader

EXIT_OUR_ERROR = 70
MERGED_S = 0.2  # `timeout` sends one signal twice, to the process and to its group; a busy machine delays the second
PATIENCE_S = 5  # with a process that was killed and has not ended: it waits for a disk
_DIE_WITH_PARENT, _ADOPT_ORPHANS = 1, 36  # PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER
_OURS = "This is an error of dks_study: please report it with the lines above. Nothing that finished is lost."


def main(program: str = "dks-study") -> int:
    """Run the command line in a process of its own; return its exit status in both processes.

    3: what it ran on was lost, so that the same command goes on. 70: an error of ours.
    """
    outlive_the_reader()
    reading, writing = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until both processes know what to do with them
    waiting = os.getpid()
    _prctl(_ADOPT_ORPHANS, 1)
    child = os.fork()
    if child:
        os.close(writing)
        began = time.monotonic()
        status = _wait(child, reading)
        notify(sys.argv[1:], program, status, time.monotonic() - began)
        return status
    _die_with(waiting)
    end_at_once_on_signal()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    status = _work(program)
    os.write(writing, bytes([status]))
    return status


def _work(program: str) -> int:
    try:
        from dks_study import cli  # no sooner: it takes long enough to be interrupted
    except ModuleNotFoundError as error:
        print(f"{program}: {error.name} is not installed for {sys.executable}: pip install -e .", file=sys.stderr)
        return EXIT_BAD_INPUT
    try:
        return _told(cli.main(program=program), program)
    except SystemExit as end:  # --help, or somebody's code
        if end.code is None or isinstance(end.code, int):
            return _told(end.code or 0, program)
        from dks_study.spec.base import in_one_line

        print(f"{program}: code that was called ended the process: {in_one_line(end)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except Exception:
        import traceback

        traceback.print_exc()
        print(_OURS, file=sys.stderr)
        return EXIT_OUR_ERROR


def _told(status: int, program: str) -> int:
    """Return the exit status of a command that is done: what it had to say may have found no room."""
    sys.stdout.flush()
    if status or not (why := lost()):
        return status
    print(f"{program}: standard output could not be written: {why}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _die_with(parent: int) -> None:
    """Have this process killed when its parent is: who kills a command means all of it."""
    _prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value)


def _end_the_rest() -> None:
    """Kill what the work has started and left behind, which has become a child of this process."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:  # there is nothing
        return
    import psutil

    while rest := psutil.Process().children(recursive=True):
        for each in rest:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        _, alive = psutil.wait_procs(rest, timeout=PATIENCE_S)
        if alive:
            return


def _wait(child: int, told: int) -> int:
    forwarded_at, said, hung_up = -math.inf, b"", False

    def hang_up(_signal: int, _frame: object) -> None:
        nonlocal hung_up
        hung_up = True
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    def forward(_signal: int, _frame: object) -> None:
        nonlocal forwarded_at
        if time.monotonic() - forwarded_at < MERGED_S:
            return
        forwarded_at = time.monotonic()
        with suppress(ProcessLookupError):  # it has ended
            os.kill(child, FORWARDED)

    for number in DIRECT:
        signal.signal(number, forward)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as `nohup` sets it
        signal.signal(signal.SIGHUP, hang_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    while True:
        ended, status = os.wait()  # of a container's first process also those whose parents have ended
        if ended == child:
            break
    os.set_blocking(told, False)  # should a process that it began live on, with a copy of the other end
    with suppress(BlockingIOError):
        said = os.read(told, 1)
    _end_the_rest()
    if hung_up:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGHUP)
    code = os.waitstatus_to_exitcode(status)
    if said or code == INTERRUPTED:
        return said[0] if said else code
    why = "Ray was lost or failed" if code >= 0 else f"the study's process was killed ({signal.Signals(-code).name})"
    print(f"{why}: {AGAIN}", file=sys.stderr)
    return EXIT_LOST


if __name__ == "__main__":
    sys.exit(main())
