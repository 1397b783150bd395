"""Trials as runs of W&B, offline: what its own files hold."""

import json
import struct
import time

import pytest
from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.watch.wandb_runs import WandbError, WandbRuns

CELLS = [Cell("dense", "confirm", seed, seed, 3, {"optimiser.lr": 0.1}) for seed in (0, 1)]
BLOCK = 32768
LAST = struct.Struct("<IHB")  # checksum, length, kind: of a piece of a record in W&B's files, as LevelDB's log has them


def metrics(epoch):
    return {"epoch": float(epoch), ACCURACY: 50.0 + epoch, "train/kl/main>stage1": 0.5}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "small-1"
    for cell in CELLS:
        (folder / "trials" / cell.id).mkdir(parents=True)
    return folder


def keep(folder, cell, *epochs):
    lines = "".join(json.dumps(metrics(epoch)) + "\n" for epoch in epochs)
    (folder / "trials" / cell.id / "epochs.jsonl").write_text(lines)


def logged(folder, cell):
    """Return the records that W&B has of a trial, from all of its sessions."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for path in sorted(folder.glob(f"wandb/*-{folder.name}-{cell.id}/*.wandb")):
        content, at, whole = path.read_bytes(), LAST.size, b""
        while at + LAST.size <= len(content):
            if BLOCK - at % BLOCK < LAST.size:
                at += BLOCK - at % BLOCK
                continue
            _, length, kind = LAST.unpack_from(content, at)
            whole += content[at + LAST.size : at + LAST.size + length]
            at += LAST.size + length
            if kind in (1, 4):  # whole, or its last piece
                found.append(Record.FromString(whole))
                whole = b""
    return found


def history(folder, cell, key=ACCURACY):
    rows = [record.history for record in logged(folder, cell) if record.WhichOneof("record_type") == "history"]
    items = [{"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item} for row in rows]
    return [(row["_step"], row[key]) for row in items]


def last(folder, cell, kind):
    return [getattr(record, kind) for record in logged(folder, cell) if record.WhichOneof("record_type") == kind][-1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what its package does while it is imported and closed is not ours
def test_seeds_are_a_group_and_a_study_that_goes_on_fills_in_what_is_missing(folder):
    pytest.importorskip("wandb", reason="pip install '.[wandb]'")
    study, (first, second) = small_study(trials=0), CELLS
    runs = WandbRuns("mine", study, folder)
    for cell in CELLS:
        runs.started(cell)
    for epoch in (1, 2, 3):
        runs.epoch(first, metrics(epoch))
    runs.epoch(second, metrics(1))
    keep(folder, first, 1, 2, 3)
    runs.settled(first, Outcome("complete", metrics(3)))
    runs.end()
    begun = [last(folder, cell, "run") for cell in CELLS]
    assert [run.display_name for run in begun] == ["dense/confirm/seed0", "dense/confirm/seed1"]
    assert {(run.project, run.run_group, run.job_type) for run in begun} == {
        ("mine", "small-1/dense/confirm", "confirm")
    }
    config = {each.key: json.loads(each.value_json) for each in begun[0].config.update}
    assert config["seed"] == 0
    assert (config["loss.pairing"], config["optimiser.lr"], config["arm"]) == ("dense", 0.1, "dense")
    assert history(folder, first) == [(1, 51.0), (2, 52.0), (3, 53.0)]
    assert history(folder, first, "train/kl/main>stage1") == [(epoch, 0.5) for epoch in (1, 2, 3)]
    assert [last(folder, cell, "exit").exit_code for cell in CELLS] == [0, 1]

    keep(folder, second, 1, 2, 3)  # the rest was trained by a session without W&B
    time.sleep(1)  # W&B names the folder of a session by its second; no two of ours begin in the same one
    again = WandbRuns("mine", study, folder)
    for cell in CELLS:
        again.settled(cell, Outcome("complete", metrics(3)), earlier=True)
    again.end()
    assert len(list(folder.glob(f"wandb/*{first.id}"))) == 1
    assert history(folder, second) == [(1, 51.0), (1, 51.0), (2, 52.0), (3, 53.0)]  # of two files, which W&B joins
    assert last(folder, second, "exit").exit_code == 0


@pytest.mark.parametrize(
    "project", ["", " ", "/", "a/", "/a", "a/b/c", "a b", "a:b", "a?b", "x" * 129, "https://wandb.ai/me/mine"]
)
def test_what_is_no_project_is_refused(folder, project):
    with pytest.raises(WandbError) as refused:
        WandbRuns(project, small_study(trials=0), folder)
    assert str(refused.value) == f"--wandb: must be PROJECT or ENTITY/PROJECT, got {project!r}"
    assert not (folder / "wandb").exists()


@pytest.mark.slow
def test_nobody_is_asked_to_log_in(folder, monkeypatch, tmp_path):
    pytest.importorskip("wandb", reason="pip install '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(WandbError, match=r"--wandb: No API key configured.* \(WANDB_MODE=offline needs no login\)$"):
        WandbRuns("me/mine", small_study(trials=0), folder)
