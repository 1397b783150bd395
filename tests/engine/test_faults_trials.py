"""Trials whose process dies, that raise or that run out of memory, with Ray running."""

import os
import signal
import time

import psutil
import pytest
import torch
from faulty import PROFILE, STEPS_PER_EPOCH, group_of, trap, trapped_process, trapped_study
from whole_studies import PATIENCE_S, finish, records, same_tables, start, study_folder, untimed, wait_for, write_study

from dks_study.spec.trial import TrialSpec
from dks_study.study.ledger import read_outcome
from dks_study.study.trial import in_parts, run_trial

THIRD_EPOCH = 2 * STEPS_PER_EPOCH + 1
SEVERAL = """
question: Does it work?
profile: {profile}
arms:
  free: {{}}
  once: {{backbone.options: ONCE}}
  always: {{backbone.options: ALWAYS}}
table: {{title: Small, reference: free}}
"""


def statuses(folder):
    ended = {record.cell.id: record.outcome.status for record in records(folder)}
    assert len(ended) == len(records(folder)), "no trial twice"
    return ended


def attempts(trapped):
    return len((trapped / "attempts").read_text().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_process_costs_nothing_but_the_epoch_it_trained(tmp_path, calm, workers):
    at = {"at": THIRD_EPOCH, "rank": max(0, workers - 1)}
    space, trapped = trapped_study(tmp_path, "wait", **at)
    process = start(space, tmp_path / "results", *group_of(workers))
    pid = trapped_process(trapped, process, at["rank"])
    os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, ""), out + err
    folder = study_folder(tmp_path / "results")
    assert same_tables(folder, calm(workers))
    assert set(statuses(folder).values()) == {"complete"}
    went_on = [log for log in folder.glob("trials/trapped-*/log.txt") if "start after epoch 2 " in log.read_text()]
    assert len(went_on) == 1, "it went on from its checkpoint"


@pytest.mark.slow
def test_a_process_that_ray_kills_as_memory_is_low_costs_nothing_but_the_epoch_either(tmp_path, calm, monkeypatch):
    memory = psutil.virtual_memory()
    if memory.available < 10 * 2**30:
        pytest.skip("10 GiB of memory must be free")
    # So far above what is used that what else runs here does not reach it.
    monkeypatch.setenv("RAY_memory_usage_threshold", str((memory.total - memory.available + 6 * 2**30) / memory.total))
    space, trapped = trapped_study(tmp_path, "wait", at=THIRD_EPOCH)
    process = start(space, tmp_path / "results", "max_failures=9")  # others may be killed as well
    pid, hoard = trapped_process(trapped, process), []
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        hoard.append(b"1" * 2**27)
        assert len(hoard) < 8 * 9, "Ray kills nothing"
        time.sleep(0.2)
    hoard.clear()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, ""), out + err
    assert same_tables(study_folder(tmp_path / "results"), calm(0))
    assert set(statuses(study_folder(tmp_path / "results")).values()) == {"complete"}


@pytest.mark.slow
def test_without_further_attempts_a_killed_process_is_a_failed_trial(tmp_path):
    space, trapped = trapped_study(tmp_path, "wait", at=THIRD_EPOCH)
    process = start(space, tmp_path / "results", "max_failures=0")
    os.kill(trapped_process(trapped, process), signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (1, ""), out
    folder = study_folder(tmp_path / "results")
    ended = statuses(folder)
    (lost,) = [name for name, status in ended.items() if status != "complete"]
    assert (len(ended), ended[lost]) == (4, "failed")
    assert f"Left out: {lost} failed: " in (folder / "table.md").read_text()
    assert "died" in (folder / "table.md").read_text()


@pytest.mark.slow
def test_what_raises_once_is_trained_and_what_always_raises_is_listed_and_not_repeated(tmp_path):
    space = SEVERAL
    for name, options in {"once": {"at": THIRD_EPOCH}, "always": {"once": False}}.items():
        options = trap(tmp_path / name, "fail", **options).replace("{", "{{").replace("}", "}}")
        space = space.replace(name.upper(), options)
    space = write_study(tmp_path, space, PROFILE)
    sets = ("report_seeds=[0]", "max_failures=2")
    folder, out, err = finish(space, tmp_path / "results", *sets, code=1)
    assert err == ""
    ended = {"free-confirm-seed0": "complete", "once-confirm-seed0": "complete", "always-confirm-seed0": "failed"}
    assert statuses(folder) == ended
    assert attempts(tmp_path / "always") == 1 + 2
    assert "start after epoch 2 " in (folder / "trials" / "once-confirm-seed0" / "log.txt").read_text()
    assert "always-confirm-seed0 failed: RuntimeError: this network fails on purpose" in out
    assert "Left out: arm always: no complete confirmation trial." in out
    again, _, _ = finish(space, tmp_path / "results", *sets, code=1)
    assert again == folder
    assert statuses(folder) == ended
    assert attempts(tmp_path / "always") == 3, "what failed is not trained again"
    assert (folder / "table.md").read_text() in out


@pytest.mark.slow
def test_a_trial_without_memory_is_listed_and_not_tried_again(tmp_path):
    space, trapped = trapped_study(tmp_path, "hoard", images=50, once=False)
    folder, out, err = finish(space, tmp_path / "results", code=1)
    assert err == ""
    assert [statuses(folder)[f"{arm}-confirm-seed0"] for arm in ("free", "trapped")] == ["complete", "out_of_memory"]
    assert attempts(trapped) == 2, "one for each seed"
    assert "Left out: trapped-confirm-seed0 out_of_memory: RuntimeError: " in out
    assert "can't allocate memory" in out


@pytest.mark.slow
def test_a_trial_without_memory_is_trained_in_parts_where_asked_even_after_a_kill(tmp_path):
    space, _ = trapped_study(tmp_path, "hoard", images=20, once=False)
    sets = ("out_of_memory=accumulate", "report_seeds=[0]")
    process = start(space, tmp_path / "results", *sets)
    folder = wait_for(tmp_path / "results", lambda folder: any(folder.glob("trials/*/parts.json")), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, out, err = finish(space, tmp_path / "results", *sets)
    assert err == ""
    assert "out of memory: trapped-confirm-seed0 (in 4)." in out, "64, then 32, then 16 images at a time"
    ended = {record.cell.id: record.outcome for record in records(folder)}
    assert {name: outcome.accumulate for name, outcome in ended.items()} == {
        "free-confirm-seed0": None,
        "trapped-confirm-seed0": 4,
    }
    written = folder / "trials" / "trapped-confirm-seed0" / "trial.json"
    trial = TrialSpec.model_validate_json(written.read_text())
    assert trial == in_parts(trial, 4)
    run_trial(trial, tmp_path / "alone", torch.device("cpu"), lambda metrics: None)
    assert untimed(read_outcome(tmp_path / "alone").metrics) == untimed(ended["trapped-confirm-seed0"].metrics)


@pytest.mark.slow
def test_one_worker_of_two_without_memory_is_enough(tmp_path):
    space, _ = trapped_study(tmp_path, "hoard", images=20, rank=1, once=False)
    sets = ("out_of_memory=accumulate", "report_seeds=[0]", "trial.resources.workers=2")
    folder, out, err = finish(space, tmp_path / "results", *sets)
    assert err == ""
    assert set(statuses(folder).values()) == {"complete"}
    assert "out of memory: trapped-confirm-seed0 (in 2)." in out
