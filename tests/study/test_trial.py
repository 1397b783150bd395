"""A trial's folder: what it holds, and that crashes at any point leave the same end."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from studies import small_study

from dks_study.spec.study import arm_trial
from dks_study.study.ledger import read_epochs, read_outcome
from dks_study.study.trial import read_error, run_trial

CPU = torch.device("cpu")
HOLD_LOCK = (
    "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held',flush=True); input()"
)


class CrashError(Exception):
    """Stands for whatever kills a process between two epochs."""


def trial_of(epochs=3, **trial):
    return arm_trial(small_study(trials=0, **trial), "dense", {}, epochs=epochs, phase="confirm", seed=1)


def run(folder, trial=None, crash_after=None):
    seen = []

    def report(metrics):
        seen.append(metrics)
        if crash_after is not None and len(seen) == crash_after:
            raise CrashError("killed here")

    run_trial(trial or trial_of(), folder, CPU, report)
    return seen


def end(folder):
    """The lasting part of how a trial ended."""
    outcome = read_outcome(folder)
    return outcome.status, {key: v for key, v in outcome.metrics.items() if "time/" not in key and "per_s" not in key}


SIX = {"epochs": 6, "optimiser": {"lr": 0.6, "batch_size": 128, "schedule": "constant"}}


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory):
    """The folder of the trial that nothing interrupts. Copy it before it is spoiled."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


@pytest.fixture
def finished(whole_folder, tmp_path):
    """A copy of it, in tmp_path/finished."""
    return shutil.copytree(whole_folder, tmp_path / "finished")


@pytest.fixture(scope="module")
def whole(whole_folder):
    """How the trial ends that nothing interrupts."""
    return end(whole_folder)


@pytest.fixture(scope="module")
def whole_of_six(tmp_path_factory):
    folder = tmp_path_factory.mktemp("six")
    run(folder, trial_of(**SIX))
    return end(folder)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """By epochs and by how many of them were done: the folder of a trial that has crashed. Copy it before use."""
    known = {}

    def folder(trial, crash_after):
        key = trial.epochs, crash_after
        if key not in known:
            known[key] = tmp_path_factory.mktemp("crashed")
            with pytest.raises(CrashError):
                run(known[key], trial, crash_after)
        return known[key]

    return folder


@pytest.fixture
def cut(crashed, tmp_path):
    """A copy of the folder of a trial that crashed after two of its three epochs, in tmp_path/cut."""
    return shutil.copytree(crashed(trial_of(), 2), tmp_path / "cut")


def test_a_folder_tells_the_whole_trial(whole_folder):
    assert json.loads((whole_folder / "trial.json").read_text())["seed"] == 1
    assert [line["epoch"] for line in read_epochs(whole_folder)] == [1, 2, 3]
    assert end(whole_folder)[0] == "complete"
    assert "epoch 3: train/loss" in (whole_folder / "log.txt").read_text()
    state = torch.load(whole_folder / "last.pt", weights_only=True)
    assert state["epoch"] == 3


def test_a_trial_goes_on_after_its_last_whole_epoch(cut, whole):
    assert read_outcome(cut) is None
    assert [metrics["epoch"] for metrics in run(cut)] == [3]
    assert end(cut) == whole
    assert [line["epoch"] for line in read_epochs(cut)] == [1, 2, 3]


@pytest.mark.parametrize("crash_after", [2, 4, 5])
@pytest.mark.parametrize("damage", [None, "best.pt"])
def test_the_chosen_epoch_is_the_same_after_a_crash(tmp_path, crashed, whole_of_six, crash_after, damage):
    trial = trial_of(**SIX)
    folder = shutil.copytree(crashed(trial, crash_after), tmp_path / "cut")
    if damage:
        (folder / damage).write_bytes(b"damaged")
    run(folder, trial)
    assert end(folder) == whole_of_six
    assert whole_of_six[1]["chosen_epoch"] < 6, "or this test tells nothing"


def damage_checkpoint(folder):
    path = folder / "last.pt"
    path.write_bytes(path.read_bytes()[:1000])


def lose_checkpoint(folder):
    (folder / "last.pt").unlink()


def cut_line(folder):
    path = folder / "epochs.jsonl"
    path.write_bytes(path.read_bytes()[:-7])


def leave_a_line_without_its_checkpoint(folder):
    with (folder / "epochs.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 3.0, "train/loss": -1.0}) + "\n")


@pytest.mark.parametrize("fault", [damage_checkpoint, lose_checkpoint, leave_a_line_without_its_checkpoint])
def test_what_a_crash_leaves_behind_changes_nothing(cut, whole, fault):
    fault(cut)
    run(cut)
    assert end(cut) == whole
    lines = list(read_epochs(cut))
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[-1]["train/loss"] > 0


def test_a_line_cut_in_half_is_passed_over(finished):
    cut_line(finished)
    assert [line["epoch"] for line in read_epochs(finished)] == [1, 2]


def test_a_trial_with_nothing_left_to_do_still_reports_and_ends(tmp_path):
    with pytest.raises(CrashError):
        run(tmp_path, crash_after=3)
    assert len(run(tmp_path)) == 1
    assert end(tmp_path)[0] == "complete"
    assert "test/top1/main" in read_outcome(tmp_path).metrics


def test_a_checkpoint_of_another_trial_is_not_used(finished):
    other = trial_of(data={"name": "digits", "label_noise": 0.1})
    assert len(run(finished, other)) == 3


def test_divergence_is_an_outcome_and_other_errors_leave_a_line(tmp_path):
    run(tmp_path / "diverged", trial_of(optimiser={"lr": 1e30, "batch_size": 256}))
    outcome = read_outcome(tmp_path / "diverged")
    assert (outcome.status, outcome.metrics) == ("diverged", {})
    assert "epoch 1" in outcome.error
    with pytest.raises(CrashError):
        run(tmp_path / "failed", crash_after=1)
    assert read_error(tmp_path / "failed") == "test_trial.CrashError: killed here"
    assert "died" in read_error(tmp_path / "nowhere")


def test_a_folder_that_another_process_trains_in_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("dks_study.study.trial.FENCE_TIMEOUT_S", 0.4)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path / "lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError, match="another process"):
            run(tmp_path)
        holder.communicate("\n")
    assert len(run(tmp_path)) == 3
