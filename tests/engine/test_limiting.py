"""A trial that hangs is killed when its time is over, whatever it holds; one that ends is not."""

import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
from faulty import group_of, trapped_study
from whole_studies import finish, records

from dks_study.engine.limiting import limited
from dks_study.study.ledger import Outcome, read_outcome
from dks_study.study.storage import Files

TRIAL = """
import re, subprocess, sys, time
from pathlib import Path
from dks_study.engine.limiting import limited
from dks_study.study.ledger import Outcome, write_outcome
from dks_study.study.home import home_of
from dks_study.study.storage import Files
folder, storage = Path(sys.argv[1]), sys.argv[2]
place = Files(folder, home_of(storage, folder.name) if storage else None).place("dense-confirm-seed0")
Path(place.folder).mkdir(parents=True)
with limited(place, {limit}):
    {body}
print("ended by itself")
"""
HOLDS_THE_LOCK = "re.match('(a+)+$', 40 * 'a' + 'b')"  # for hours, and no other thread of Python's runs meanwhile


def train(folder, body, limit, storage=""):
    script = TRIAL.format(body=body, limit=limit)
    return subprocess.run(
        [sys.executable, "-c", script, str(folder), storage], capture_output=True, text=True, timeout=100
    )


def test_a_step_that_holds_pythons_lock_is_killed_with_what_it_has_started_and_its_home_is_told(tmp_path):
    started = "started = subprocess.Popen(['sleep', '1000']); print(started.pid, flush=True)"
    done = train(tmp_path / "study", f"{started}; {HOLDS_THE_LOCK}", 1.0, str(tmp_path / "home"))
    assert done.returncode == -signal.SIGKILL
    assert re.fullmatch(r"\d+\n", done.stdout)
    outcome = read_outcome(tmp_path / "home/study/trials/dense-confirm-seed0")
    assert outcome == Outcome("timed_out", {}, "trained for longer than trial.time_limit, 1 s")
    _, alive = psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid := int(done.stdout)) else [], 5)
    assert not alive


def test_a_trial_that_has_just_ended_keeps_its_result(tmp_path):
    written = "place.end(Outcome('complete', {'epoch': 1.0})); time.sleep(1.5)"
    done = train(tmp_path / "study", written, 0.5)
    assert (done.returncode, done.stdout) == (0, "ended by itself\n"), done.stderr
    assert read_outcome(tmp_path / "study/trials/dense-confirm-seed0") == Outcome("complete", {"epoch": 1.0})


@pytest.mark.parametrize("limit", [1000.0, None])
def test_what_ends_in_time_leaves_nobody_waiting(tmp_path, limit):
    before = set(psutil.Process().children(recursive=True))
    with limited(Files(tmp_path, None).place("dense-confirm-seed0"), limit):
        time.sleep(0.01)
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.slow
def test_a_trial_that_hangs_is_listed_and_is_tried_again_by_retry_alone(tmp_path):
    space, trapped = trapped_study(tmp_path, "wait", at=20, once=False)
    sets = ("report_seeds=[0]", "trial.time_limit=20s")
    folder, out, _ = finish(space, tmp_path / "results", *sets, code=1)
    (lost,) = [record for record in records(folder) if record.outcome.lost]
    assert lost.outcome.status == "timed_out"
    assert len(set((trapped / "attempts").read_text().split())) == 1  # max_failures is 1: it was not started again
    assert f"Left out: {lost.cell.id} timed_out: trained for longer than trial.time_limit, 20 s" in out
    (trapped / "go").touch()
    _, out, _ = finish(space, tmp_path / "results", "report_seeds=[0]", options=("--retry", "timed_out"))
    assert f"Tried again, having been lost: {lost.cell.id}." in out


@pytest.mark.slow
def test_a_group_of_which_one_process_hangs_is_ended(tmp_path):
    space, trapped = trapped_study(tmp_path, "wait", at=20, rank=1, once=False)
    folder, _, _ = finish(space, tmp_path / "results", *group_of(2), "trial.time_limit=25s", code=1)
    assert [record.outcome.status for record in records(folder)] == ["complete", "timed_out"]
    assert len((trapped / "attempts").read_text().split()) == 1
