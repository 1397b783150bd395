"""The command as a shell sees it: two processes, signals, exit statuses, and output that nobody can take."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
WORK = """
import os, signal, sys, time, types
from dks_study import __main__ as command

def work(program):
    {deed}

sys.modules['dks_study.cli'] = types.SimpleNamespace(main=work)
sys.exit(command.main())
"""
WAIT = "print('ready', flush=True); time.sleep(60)"
AGAIN = "nothing that finished is lost. Run the same command again to go on.\n"


def begin(deed, **options):
    """Start the command with a deed of Python in place of its work."""
    return subprocess.Popen(
        [sys.executable, "-c", WORK.format(deed=deed)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options,
    )  # fmt: skip


def waiting(**options):
    """Start one whose work waits; return it and the process that works."""
    process = begin(WAIT, **options)
    assert process.stdout.readline() == "ready\n"
    (worker,) = psutil.Process(process.pid).children()
    return process, worker


def ended(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("deed", "status", "err"),
    [
        ("return 0", 0, ""),
        ("return 1", 1, ""),
        ("sys.exit(0)", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('a\\nb')", 2, "dks-study: code that was called ended the process: SystemExit: a b\n"),
        ("os._exit(1)", 3, f"Ray was lost or failed: {AGAIN}"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 3, f"the study's process was killed (SIGKILL): {AGAIN}"),
        ("os.abort()", 3, f"the study's process was killed (SIGABRT): {AGAIN}"),
    ],
)
def test_how_the_work_ended_is_told_apart_from_what_ended_it(deed, status, err):
    assert ended(begin(deed)) == (status, "", err)


def test_an_error_of_ours_has_a_status_of_its_own_and_its_traceback():
    status, _, err = ended(begin("raise ZeroDivisionError('a bug')"))
    assert status == 70
    assert "ZeroDivisionError: a bug" in err
    assert err.splitlines()[-1].startswith("This is an error of dks_study: please report it")


def test_a_status_that_was_told_holds_whatever_ends_the_process_afterwards():
    late = "import atexit; atexit.register(os._exit, 1); return 0"
    assert ended(begin(late)) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to", ["command", "worker", "both"])
def test_a_signal_ends_it_with_one_line_whoever_is_sent_it(number, to):
    process, worker = waiting()
    if to == "both":
        os.killpg(process.pid, number)  # as a terminal and batch systems do
    else:
        os.kill(process.pid if to == "command" else worker.pid, number)
    assert ended(process) == (130, "", f"Stopped: {AGAIN}")


ENDING = """from dks_study.engine.interrupts import ending_on_interrupt
    over = []
    with ending_on_interrupt(lambda: over.append(1), lambda: False):
        print('ready', flush=True)
        while not over:
            time.sleep(0.01)
        time.sleep(0.5)
    return 130"""


def test_one_signal_that_is_sent_twice_as_timeout_does_is_one():
    process = begin(ENDING)
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(0.03)
    os.killpg(process.pid, signal.SIGTERM)
    assert ended(process) == (130, "", ""), "it ended cleanly"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_the_work_does_not_outlive_the_command(number, hangups):
    process, worker = waiting()
    os.kill(process.pid, number)
    assert ended(process)[0] == -number
    assert psutil.wait_procs([worker], timeout=10)[1] == []


def test_what_the_work_leaves_running_is_ended_with_it():
    left = "import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid); return 0"
    process = begin(left)
    number = int(process.stdout.readline())
    assert ended(process) == (0, "", "")
    assert not psutil.pid_exists(number)


def test_a_hangup_that_is_ignored_ends_nothing():
    process, worker = waiting(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    os.killpg(process.pid, signal.SIGHUP)
    time.sleep(0.3)
    assert worker.is_running()
    os.kill(process.pid, signal.SIGTERM)
    assert ended(process)[0] == 130


def test_who_waits_takes_little_memory():
    process, _ = waiting()
    assert psutil.Process(process.pid).memory_info().rss < 30e6
    os.kill(process.pid, signal.SIGTERM)
    ended(process)


def run(words, redirection="", **environment):
    """Run a command line in a shell, its output redirected; return status, output and errors."""
    line = f'"$0" run_study.py {words} {redirection}'
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON", "COLUMNS"))
    }
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, sys.executable],
        cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


PLAN = "--dry-run --space dense_vs_oneway"


PRINTING = [PLAN, "--list", "--status analysis/results", "--help"]


@pytest.mark.parametrize("words", PRINTING)
@pytest.mark.parametrize("redirection", ["| true", "| head -1 > /dev/null", ">&-", "<&- >&-"])
def test_nobody_has_to_take_what_is_printed(words, redirection):
    assert run(words, redirection) == (0, "", "")


@pytest.mark.parametrize("words", PRINTING)
def test_what_is_printed_and_finds_no_room_is_told(words):
    line = "run_study: standard output could not be written: No space left on device\n"
    assert run(words, "> /dev/full") == (2, "", line)


@pytest.mark.parametrize("words", [PLAN, "--list", "--status analysis/results"])
def test_a_width_of_nothing_is_none(words):
    assert run(words, COLUMNS="0") == run(words)


def test_what_a_study_printed_is_in_its_folder_and_no_loss():
    code = (
        "import sys, types; from dks_study import __main__ as command, cli\n"
        "cli.carry_out = lambda *_: (types.SimpleNamespace(without_result=0), 'the table', 'the report', None)\n"
        "sys.argv[1:] = ['--space', 'does_it_help']; sys.exit(command.main())"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full", "2>&1 | true"])
def test_a_wrong_input_has_its_status_where_its_line_cannot_be_written(redirection):
    assert run("--space nowhere", redirection) == (2, "", "")


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, r"\xe9 f\xfcr \u2713"),
        ({"PYTHONIOENCODING": "latin-1:strict"}, r"\u2713"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "é für ✓"),  # the bytes of the name itself
    ],
)
def test_letters_that_the_output_lacks_are_written_by_number(environment, shown):
    status, out, err = run(f"{PLAN} --results 'é für ✓'", **environment)
    assert (status, err) == (0, "")
    assert shown in out.splitlines()[-1]


def test_a_checkout_that_is_not_installed_says_so():
    words = [sys.executable, "-S", str(ROOT / "run_study.py"), "--list"]  # -S: nothing that pip has installed
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"run_study: rich is not installed for {sys.executable}: pip install -e .\n"
