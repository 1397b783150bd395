"""Who is away is told how a command ended, whatever ended it, and by what goes wrong there nothing else does."""

import subprocess
import sys

import psutil
import pytest
from whole_studies import ROOT

from dks_study.engine.notifying import notify

SLEEPING = """
import sys, time
from dks_study import __main__ as command
sys.argv[1:], command._work = {words}, {work}
sys.exit(command.main())
"""


def told(tmp_path, *words):
    """Run the command with an option that writes down what it is told; return that and what has ended."""
    script = f'printf "%s" "$DKS_MESSAGE" > {tmp_path}/told'
    done = subprocess.run(
        [sys.executable, ROOT / "run_study.py", *words, "--notify", script],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    return (tmp_path / "told").read_text(), done


def test_one_line_says_what_was_run_and_how_it_ended_and_not_the_command_which_may_hold_a_token(tmp_path):
    text, done = told(tmp_path, "--space", "nowhere")
    assert done.returncode == 2
    assert text == ("run_study --space nowhere: stopped: its last line says why (exit status 2, after 0 h 00 min)")


def test_nobody_is_told_what_logs_in(tmp_path):
    storage, other = "s3://KEY:TOP/SECRET@bucket/x?secret=SECRET", "--optuna-storage=postgresql://me:SECRET@host/db"
    text, _ = told(tmp_path, "--space", "nowhere", "--storage", storage, other)
    assert "SECRET" not in text
    words = "run_study --space nowhere --storage s3://bucket/x --optuna-storage=postgresql://host/db: stopped"
    assert text.startswith(words)


def test_a_study_that_is_killed_is_told_of(tmp_path):
    words = ["--space", "x", "--notify", f'echo "$DKS_MESSAGE" > {tmp_path}/told']
    work = "lambda program: (print('works', flush=True), time.sleep(100))"
    script = SLEEPING.format(words=words, work=work)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "works\n"
        (child,) = psutil.Process(process.pid).children()
        child.kill()
        assert process.wait(30) == 3
    assert (
        "stopped, as what it ran on was lost: run the same command again (exit status 3"
        in (tmp_path / "told").read_text()
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--notify", "exit 7"], "ended with status 7"),
        (["--notify=no_such_command"], "ended with status 127"),
        (["--noti", "false"], "ended with status 1"),
        (["--notify", "true", "--notify", "exit 3"], "ended with status 3"),
    ],
)
def test_what_goes_wrong_with_it_is_one_note(capfd, words, message):
    notify(words, "dks-study", 0, 1.0)
    err = capfd.readouterr().err.splitlines()
    assert err[-1] == f"Note: --notify: {message}: nobody was told."


@pytest.mark.parametrize("words", [[], ["--notify"], ["--notify", " "], ["--no-reuse"], ["--space", "notify"]])
def test_nobody_is_told_unasked(capfd, words):
    notify(words, "dks-study", 0, 1.0)
    assert capfd.readouterr() == ("", "")


def test_hours_are_told(capfd):
    notify(["--notify=echo $DKS_MESSAGE", "--space", "x=y"], "dks-study", 4, 3 * 3600 + 125.0)
    assert capfd.readouterr().out == (
        "dks-study --space x=y: ended by the clock: run the same command again to go on (exit status 4, after"
        " 3 h 02 min)\n"
    )
