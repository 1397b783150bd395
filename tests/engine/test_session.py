"""Whole studies through the command line, with Ray really started and processes really killed."""

import json
import os
import pty
import re
import signal
import struct
import subprocess
from contextlib import suppress

import numpy as np
import pandas as pd
import psutil
import pytest
from whole_studies import (
    PATIENCE_S,
    TRIALS,
    command,
    finish,
    in_confirmation,
    in_search,
    lasting,
    records,
    same_tables,
    start,
    study_folder,
    wait_for,
)


@pytest.mark.slow
def test_a_study_ends_with_its_table_and_its_files(uninterrupted):
    folder, out, err = uninterrupted
    assert err == "", "Ray must be quiet"
    assert (folder / "table.md").read_text() in out
    trials = pd.read_parquet(folder / "trials.parquet")
    assert len(trials) == TRIALS
    assert (trials["status"] == "complete").all()
    assert trials[trials["phase"] == "search"]["test/top1/main"].isna().all(), "a search never sees the test set"
    epochs = pd.read_parquet(folder / "epochs.parquet")
    assert len(epochs) == TRIALS * 6, "a search trial is as long as what it chooses for"
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["sessions"][0]["ended"] is not None
    assert provenance["study"]["trial"]["epochs"] == 6
    assert "PATH" not in (folder / "provenance.json").read_text(), "environment variables stay out"
    assert not (folder / ".tune").exists()
    text = (folder / "table.md").read_text()
    assert "| baseline" in text
    assert "Left out: nothing." in text


@pytest.mark.slow
def test_the_same_command_again_trains_nothing_and_gives_the_same_table(space, uninterrupted):
    folder, _, _ = uninterrupted
    before, ledger = (folder / "table.md").read_bytes(), (folder / "ledger.jsonl").read_bytes()
    finish(space, folder.parent)
    assert (folder / "table.md").read_bytes() == before
    assert (folder / "ledger.jsonl").read_bytes() == ledger
    assert len(json.loads((folder / "provenance.json").read_text())["sessions"]) == 1, "Ray was not even started"


@pytest.mark.slow
def test_a_study_on_a_terminal_is_drawn_and_ends_with_the_same_table(space, uninterrupted, tmp_path):
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command(space, tmp_path), stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # its other end is closed
        while data := os.read(ours, 65536):
            shown += data
    os.close(ours)
    assert process.wait(timeout=PATIENCE_S) == 0, shown.decode()
    assert f"{TRIALS} of {TRIALS} trials" in shown.decode()
    assert same_tables(study_folder(tmp_path), uninterrupted[0])


@pytest.mark.slow
@pytest.mark.parametrize("moment", [in_search, in_confirmation])
def test_a_killed_study_goes_on_to_the_same_table(space, uninterrupted, tmp_path, moment):
    process = start(space, tmp_path)
    folder = wait_for(tmp_path, moment, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    settled = {r.cell.id: r.ended for r in records(folder)}
    assert 0 < len(settled) < TRIALS
    finish(space, tmp_path)
    assert same_tables(folder, uninterrupted[0])
    ended = {r.cell.id: r.ended for r in records(folder)}
    assert len(records(folder)) == len(ended) == TRIALS, "no trial lost, none twice"
    assert settled.items() <= ended.items(), "no finished trial is repeated"
    assert lasting(folder) == lasting(uninterrupted[0])


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(space, uninterrupted, tmp_path):
    process = start(space, tmp_path)
    folder = wait_for(tmp_path, in_search, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Ending after the epochs that are running. Ctrl-C again: now" in out
    assert err.splitlines()[-1].startswith("Interrupted:")
    assert "Traceback" not in err
    assert "again to go on" in err
    finish(space, tmp_path)
    assert same_tables(folder, uninterrupted[0])
    for log in folder.glob("trials/*/log.txt"):
        epochs = re.findall(r"epoch (\d+):", log.read_text())
        assert len(epochs) == len(set(epochs)), "no epoch is trained twice"


def held(folder):
    """Does somebody hold the study? Its folder is there a moment before its lock."""
    return (folder / "lock").exists() and "process" in (folder / "lock").read_text()


@pytest.mark.slow
def test_a_second_command_on_the_same_study_says_who_holds_it(space, tmp_path):
    first = start(space, tmp_path)
    wait_for(tmp_path, held, first)
    _, _, err = finish(space, tmp_path, code=2)
    (worker,) = psutil.Process(first.pid).children()
    assert f"this study is being run by process {worker.pid} on" in err
    assert err.endswith(" UTC\n")
    assert len(err.splitlines()) == 1
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()


@pytest.mark.slow
def test_diverged_trials_are_listed_and_the_study_goes_on(space, tmp_path):
    folder, out, _ = finish(space, tmp_path, "search.trials=0", "arms.dense.optimiser.lr=1.0e+30", code=1)
    assert "Left out: dense-confirm-seed0 diverged: the training loss is not finite in epoch 1, step " in out
    assert "Left out: arm dense" in out
    assert "| baseline" in (folder / "table.md").read_text()


@pytest.mark.slow
def test_one_worker_gives_the_numbers_of_none_and_two_workers_train(space, tmp_path):
    small = ("search.trials=0", "report_seeds=[0]", "trial.epochs=2")
    alone, _, _ = finish(space, tmp_path / "0", *small)
    one, _, err = finish(space, tmp_path / "1", *small, "trial.resources.workers=1")
    two, _, _ = finish(space, tmp_path / "2", *small, "trial.resources.workers=2")
    assert err == ""
    assert {k: v[1:] for k, v in lasting(one).items()} == {k: v[1:] for k, v in lasting(alone).items()}
    for record in records(two):
        assert record.outcome.status == "complete"
        hits = record.outcome.metrics["test/top1/main"] * 4.5
        assert hits == pytest.approx(round(hits), abs=1e-6), "450 test images, each counted once"
    log = (two / "trials" / "dense-confirm-seed0" / "log.txt").read_text()
    assert "on 2 x cpu" in log


def write_fashion_mnist(root):
    """Write a few images in the real format: gunzipped idx files of Debian's package and of torchvision."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 100)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        header = struct.pack(">IIII", 2051, count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_relative_data_root_is_found_from_every_process(space, tmp_path, workers):
    write_fashion_mnist(tmp_path / "data")
    where = ("trial.data.name=fashion_mnist", "trial.data.root=data")
    small = (
        "search.trials=0",
        "report_seeds=[0]",
        "trial.epochs=1",
        "trial.optimiser.batch_size=64",
        f"trial.resources.workers={workers}",
    )
    folder, _, _ = finish(space, "results", *where, *small, cwd=tmp_path)
    assert [record.outcome.status for record in records(folder)] == ["complete"] * 2
