"""Groups of workers that train one trial after another: what stays, what does not, and what a failure costs."""

import os
import random
import signal
import subprocess
import sys
import uuid

import numpy as np
import psutil
import pytest
import torch
from faulty import PROFILE, STEPS_PER_EPOCH, trap, trapped_process
from nodes import nodes
from whole_studies import PATIENCE_S, records, start, study_folder, untimed, write_study

from dks_study.engine.worker import _left_as_found
from dks_study.spec.trial import TrialSpec
from dks_study.study.ledger import read_epochs
from dks_study.study.trial import run_trial

SPACE = """
question: Who trains what?
profile: {profile}
arms:
  first: {{backbone.options: FIRST}}
  second: {{backbone.options: SECOND}}
  third: {{backbone.options: THIRD}}
table: {{title: Small, reference: first}}
"""
ARMS = ("first", "second", "third")
SECOND_EPOCH = STEPS_PER_EPOCH + 1
OTHER_JOB = """
import sys, ray
from ray.util import placement_group
ray.init(sys.argv[1], logging_level="ERROR")
wanted = placement_group([{"CPU": 1}])
print("waits", flush=True)
ray.get(wanted.ready())
print("has it", flush=True)
sys.stdin.read()
"""


def write_traps(folder):
    """Write a study of which each arm waits in its second epoch for a file of its own; return its space."""
    space = SPACE
    for arm in ARMS:
        options = trap(folder / arm, "wait", at=SECOND_EPOCH).replace("{", "{{").replace("}", "}}")
        space = space.replace(arm.upper(), options)
    return write_study(folder, space, PROFILE)


def let_go(folder, *arms):
    for arm in arms:
        (folder / arm / "go").touch()


def workers_of(folder):
    """Return which processes have trained an arm, in their order."""
    return {arm: list(dict.fromkeys((folder / arm / "attempts").read_text().split())) for arm in ARMS}


def logged(folder, arm):
    """Return in which epochs the attempts of a trial began."""
    lines = (folder / "trials" / f"{arm}-confirm-seed0" / "log.txt").read_text().splitlines()
    return [line.partition("start after epoch ")[2].partition(" ")[0] for line in lines if "start after" in line]


def alone(trial, folder):
    """Train a trial in this process; return its epochs."""
    run_trial(trial, folder, torch.device("cpu"), lambda metrics: None)
    return [untimed(epoch) for epoch in read_epochs(folder)]


@pytest.mark.slow
def test_a_killed_worker_costs_its_own_trial_and_its_group_alone(tmp_path):
    space = write_traps(tmp_path)
    let_go(tmp_path, "first", "third")
    one_at_a_time = f"trial.resources.cpus_per_worker={psutil.cpu_count()}"
    sets = ("report_seeds=[0]", "trial.epochs=3", "trial.resources.workers=1", one_at_a_time)
    process = start(space, tmp_path / "results", *sets)
    killed = trapped_process(tmp_path / "second", process)
    os.kill(killed, signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, ""), out
    folder = study_folder(tmp_path / "results")
    workers = workers_of(tmp_path)
    again = workers["third"][0]
    assert workers == {"first": [str(killed)], "second": [str(killed), again], "third": [again]}
    assert again != str(killed)
    assert {arm: logged(folder, arm) for arm in ARMS} == {"first": ["0"], "second": ["0", "1"], "third": ["0"]}
    assert [record.outcome.status for record in records(folder)] == ["complete"] * 3
    for arm in ARMS:  # the same last bits as in a process that has trained nothing else
        trained = folder / "trials" / f"{arm}-confirm-seed0"
        trial = TrialSpec.model_validate_json((trained / "trial.json").read_text())
        assert [untimed(epoch) for epoch in read_epochs(trained)] == alone(trial, tmp_path / "alone" / arm)


@pytest.mark.slow
def test_a_group_gives_its_cpu_to_what_else_waits_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)
    space = write_traps(tmp_path)
    sets = ("report_seeds=[0]", "trial.epochs=2", "trial.resources.workers=1")
    with nodes(1) as cluster:
        process = start(space, tmp_path / "results", *sets, options=("--address", cluster.address))
        first = trapped_process(tmp_path / "first", process)
        words = [sys.executable, "-c", OTHER_JOB, cluster.address]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline() == "waits\n"
            let_go(tmp_path, "first")
            assert other.stdout.readline() == "has it\n"
            assert not (tmp_path / "second" / "attempts").exists(), "the next trial waits"
            other.stdin.close()
        let_go(tmp_path, "second", "third")
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, ""), out
    workers = workers_of(tmp_path)
    assert workers["first"] == [str(first)] != workers["second"]
    assert workers["second"] == workers["third"], "which nothing kept from going on"
    assert [logged(study_folder(tmp_path / "results"), arm) for arm in ARMS] == [["0"]] * 3


def test_a_trial_leaves_its_process_as_it_found_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # and whatever fails here is put back
    monkeypatch.setenv("OF_A_TEST", "before")
    drawn = [_drawn_after(lambda: None), _drawn_after(_change_everything)]
    assert drawn[0] == drawn[1]
    assert (os.getcwd(), os.environ["OF_A_TEST"], torch.get_default_dtype()) == (str(tmp_path), "before", torch.float32)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


def _drawn_after(train):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        with _left_as_found(torch.device("cpu")):
            train()
        return torch.rand(()).item(), np.random.random(), random.random()


def _change_everything():
    for draw in (torch.rand, np.random.random, lambda _: random.random()):
        draw(1)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = True
    os.environ["OF_A_TEST"] = "after"
    os.chdir("/")
