"""Data reach trials once per node, and a study goes on with the data that it began with, on every node."""

import os
import secrets
import shutil
import signal

import pytest
import torch
from odd_pictures import cut_in_half, write_plain
from unshared import may_unshare, two_nodes
from whole_studies import PATIENCE_S, finish, records, same_tables, start, untimed, wait_for, write_study

from dks_study.spec.trial import TrialSpec
from dks_study.study.ledger import read_outcome
from dks_study.study.trial import run_trial

SPACE = """
question: Does it work?
profile: {profile}
arms:
  ds: {{loss.pairing: none}}
  dense: {{loss.pairing: dense}}
table: {{title: Small, reference: ds}}
"""
PROFILE = """
about: seconds
trial:
  backbone: {name: resnet, depth: 8, base_channels: 4}
  branches: {taps: [stage1]}
  data: {name: "counted:digits", root: "ROOT", label_noise: 0.4}
  optimiser: {lr: 0.05, batch_size: 256}
  epochs: 1
search: {trials: 0}
report_seeds: [0, 1, 2]
"""


@pytest.mark.slow
def test_the_data_are_read_once_whatever_the_number_of_trials(tmp_path):
    space = write_study(tmp_path, SPACE, PROFILE.replace("ROOT", str(tmp_path)))
    folder, _, err = finish(space, tmp_path / "results")
    assert err == ""
    assert len(records(folder)) == 6
    reads = (tmp_path / "reads").read_text().splitlines()
    assert len(reads) == 1, "by the driver, which looks at the data before anything starts"
    for record in records(folder)[:2]:
        trial = TrialSpec.model_validate_json((folder / "trials" / record.cell.id / "trial.json").read_text())
        run_trial(trial, tmp_path / record.cell.id, torch.device("cpu"), lambda metrics: None)
        assert untimed(read_outcome(tmp_path / record.cell.id).metrics) == untimed(record.outcome.metrics)
    assert (tmp_path / "reads").read_text().splitlines() == [*reads, str(os.getpid())], "a trial alone reads for itself"


PICTURES = """
about: seconds
trial:
  backbone: {name: resnet, depth: 8, base_channels: 4}
  branches: {taps: [stage1]}
  data: {name: image_folder, root: "ROOT", validation_fraction: 0.25, in_memory: IN_MEMORY, image_pixels: 16}
  optimiser: {lr: 0.05, batch_size: 12}
  epochs: 20
search: {trials: 0}
report_seeds: [0, 1, 2]
"""


def study_of_pictures(folder, in_memory="true"):
    """Write pictures and a study of them; return the space."""
    write_plain(folder / "data", images=16)
    profile = PICTURES.replace("ROOT", str(folder / "data")).replace("IN_MEMORY", in_memory)
    return write_study(folder / "space", SPACE, profile)


def edit(root):
    """Two classes change names, and half of a test class goes."""
    for part in ("train", "test"):
        (root / part / "cat").rename(root / part / "cow")
        (root / part / "dog").rename(root / part / "cat")
        (root / part / "cow").rename(root / part / "dog")
    for i in range(8):
        (root / f"test/owl/{i:03}.png").unlink()


@pytest.mark.slow
def test_data_that_were_edited_between_two_sittings_are_refused_until_they_are_put_back(tmp_path):
    space = study_of_pictures(tmp_path)
    whole, _, _ = finish(space, tmp_path / "whole")
    process = start(space, tmp_path / "results")
    folder = wait_for(tmp_path / "results", records, process)
    os.kill(process.pid, signal.SIGINT)
    process.communicate()
    before = (folder / "ledger.jsonl").read_bytes()
    assert 0 < len(records(folder)) < 6
    shutil.copytree(tmp_path / "data", tmp_path / "kept")
    edit(tmp_path / "data")
    _, _, err = finish(space, tmp_path / "results", code=2)
    rule = "the data of a study must not change, as its table would mix both"
    what = "vanished: 8 of test/owl (000.png, 001.png, 002.png, ...); changed: all 16 of test/cat, all 16 of test/dog"
    assert err.startswith(f"run_study: {folder}: {rule}: {what}")
    assert len(err.splitlines()) == 1
    assert (folder / "ledger.jsonl").read_bytes() == before
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "kept", tmp_path / "data", copy_function=shutil.copyfile)  # with other times
    _, out, _ = finish(space, tmp_path / "results")
    assert "Data: 36 train, 12 validation, 48 test images of 3 classes. No exact copies." in out
    assert same_tables(folder, whole)
    assert len({record.data for record in records(folder)} - {None}) == 1
    assert "48 test images of 3 classes. No exact copies. Fingerprint of the data: " in (
        (folder / "report.html").read_text()
    )


@pytest.mark.slow
def test_a_file_that_cannot_be_read_on_the_fly_is_found_before_anything_trains(tmp_path):
    space = study_of_pictures(tmp_path, in_memory="false")
    cut_in_half(tmp_path / "data/train/owl/003.png")
    folder, _, err = finish(space, tmp_path / "results", code=2)
    assert err == f"run_study: data.root: must hold images that can be read, got {tmp_path}/data/train/owl/003.png\n"
    assert folder is None, "a refused study leaves nothing"


@pytest.mark.slow
def test_a_node_that_sees_other_pictures_is_refused_before_anything_trains(tmp_path, monkeypatch):
    if not may_unshare():
        pytest.skip("mounts cannot be made here: no node that sees other files")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    space = study_of_pictures(tmp_path, in_memory="false")
    shutil.copytree(tmp_path / "data", tmp_path / "other")
    (tmp_path / "other/train/cat/000.png").unlink()
    with two_nodes(f'mount --bind "{tmp_path}/other" "{tmp_path}/data"') as address:
        folder, _, err = finish(space, tmp_path / "results", code=2, options=("--address", address))
    assert len(err.splitlines()) == 1
    rule = "run_study: data.root: must hold the images that the study began with on every node; on "
    assert err.startswith(rule)
    assert err.endswith("they differ: vanished: 1 of train/cat (000.png)\n")
    assert folder is None, "a refused study leaves nothing"


@pytest.mark.slow
def test_pictures_that_change_while_a_study_runs_end_it_and_fail_no_trial(tmp_path):
    """A group looks anew before each trial at what it is to decode."""
    space = study_of_pictures(tmp_path, in_memory="false")
    process = start(space, tmp_path / "results", "trial.resources.workers=1")
    folder = wait_for(tmp_path / "results", records, process)
    shutil.copyfile(tmp_path / "data/train/cat/001.png", tmp_path / "other.png")
    (tmp_path / "other.png").replace(tmp_path / "data/train/cat/000.png")  # at once: half a file is another fault
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert err.startswith(f"run_study: {folder}: data.root: must hold the images that the study began with on every")
    assert err.endswith("they differ: changed: 1 of train/cat (000.png)\n")
    assert len(err.splitlines()) == 1
    assert len(records(folder)) < 6
    assert {record.outcome.status for record in records(folder)} == {"complete"}
