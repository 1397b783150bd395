"""TensorBoard files, read back."""

import json

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.watch.event_files import EventFiles

CELL = Cell("dense", "confirm", 1, 1, 3, {})


def metrics(epoch):
    return {"epoch": float(epoch), "val/top1/main": 50.0 + epoch, "train/kl/main>stage1": 0.5}


def events(folder):
    """Every record: 8 bytes length, 4 bytes checksum, an Event, 4 bytes checksum (the TFRecord format)."""
    (path,) = (folder / "trials" / CELL.id / "tensorboard").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    data = path.read_bytes()
    while data:
        length = int.from_bytes(data[:8], "little")
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def shown(folder):
    """{tag: {epoch: value}}; an epoch that is written twice is an error."""
    tags = {}
    for event in events(folder):
        for value in event.summary.value:
            assert event.step not in tags.setdefault(value.tag, {}), "doubled"
            tags[value.tag][event.step] = value.simple_value
    return tags


@pytest.fixture
def trial(tmp_path):
    folder = tmp_path / "trials" / CELL.id
    folder.mkdir(parents=True)

    def keep(*epochs):
        (folder / "epochs.jsonl").write_text("".join(json.dumps(metrics(e)) + "\n" for e in epochs))

    keep()
    return keep


def test_every_epoch_is_there_as_soon_as_it_is_reported(tmp_path, trial):
    files = EventFiles(tmp_path)
    files.started(CELL)
    files.epoch(CELL, metrics(1))
    files.epoch(CELL, metrics(2))
    assert shown(tmp_path) == {"val/top1/main": {1: 51.0, 2: 52.0}, "train/kl/main>stage1": {1: 0.5, 2: 0.5}}
    files.settled(CELL, Outcome("complete", metrics(2)))
    files.end()
    assert set(shown(tmp_path)["val/top1/main"]) == {1, 2}


def test_a_trial_that_goes_on_shows_every_epoch_once(tmp_path, trial):
    first = EventFiles(tmp_path)
    for epoch in (1, 2):
        first.epoch(CELL, metrics(epoch))
    first.end()
    trial(1, 2)  # killed after the line of epoch 2 and before its checkpoint: epoch 2 is trained again
    path = next((tmp_path / "trials" / CELL.id / "tensorboard").iterdir())
    path.write_bytes(path.read_bytes()[:-7])  # and while it wrote
    second = EventFiles(tmp_path)
    second.started(CELL)
    second.epoch(CELL, metrics(2))
    second.epoch(CELL, metrics(3))
    second.end()
    assert shown(tmp_path)["val/top1/main"] == {1: 51.0, 2: 52.0, 3: 53.0}
    starts = [event.step for event in events(tmp_path) if event.session_log.status == SessionLog.START]
    assert starts == [1], "a TensorBoard that is open drops what it had read"


def test_a_trial_that_is_retried_in_one_session_shows_every_epoch_once(tmp_path, trial):
    files = EventFiles(tmp_path)
    files.epoch(CELL, metrics(1))
    trial(1)
    files.epoch(CELL, metrics(2))
    trial(1)
    files.epoch(CELL, metrics(2))
    files.end()
    assert shown(tmp_path)["val/top1/main"] == {1: 51.0, 2: 52.0}
