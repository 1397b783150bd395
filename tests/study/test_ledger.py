"""The ledger survives a cut at any byte, and nothing else."""

import errno
import json
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dks_study.study.cell import Cell
from dks_study.study.ledger import (
    Ledger,
    LedgerError,
    Outcome,
    Record,
    read_epochs,
    read_ledger,
    read_outcome,
    read_seal,
    write_whole,
)
from dks_study.study.sealing import Plan
from dks_study.study.trial_names import cell_of


def record(index, status="complete"):
    cell = Cell("dense", "search", index, seed=9, epochs=2, setting={"optimiser.lr": 0.1})
    outcome = Outcome(status, {"val/top1/main": 50.0 + index} if status == "complete" else {}, None)
    return Record(cell, outcome, trial_hash="abc", ended="2026-01-01T00:00:00+00:00")


def test_what_is_appended_is_read_again(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(record(0))
    ledger.append(record(1, "diverged"))
    assert list(read_ledger(ledger.path)) == [record(0), record(1, "diverged")]
    assert Ledger(ledger.path).records == ledger.records


def test_trials_share_the_names_of_their_metrics(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for index in range(2):
        ledger.append(record(index))
    (one, other) = (each.outcome.metrics for each in read_ledger(tmp_path / "ledger.jsonl"))
    assert one
    assert all(name is again for name, again in zip(one, other, strict=True))


def test_a_sealed_plan_is_no_trial_and_is_written_once(tmp_path):
    ledger, plan = Ledger(tmp_path / "ledger.jsonl"), Plan((0, 1), {"dense": "abc"}, "", "def", None)
    assert read_seal(ledger.path) is None
    assert ledger.seal(plan)
    assert not ledger.seal(plan)
    ledger.append(replace(record(0), plan=replace(plan, margin=0.5)))
    assert Ledger(ledger.path).seal(replace(plan, seeds=(0, 1, 2)))
    again = Ledger(ledger.path)
    assert again.plan == read_seal(ledger.path) == replace(plan, seeds=(0, 1, 2))
    assert again.records == ledger.records
    assert again.records[0].plan == replace(plan, margin=0.5)
    assert len(ledger.path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("fields", ['{"seeds": [0]}', "3", "null", '{"seeds": 3, "arms": {}}', "{}"])
def test_a_spoiled_seal_is_said_with_its_line(tmp_path, fields):
    path = tmp_path / "ledger.jsonl"
    path.write_text(f'{{"sealed": {fields}}}\n')
    with pytest.raises(LedgerError, match=r"ledger.jsonl:1: not a record"):
        read_seal(path)


TEXT = st.text(max_size=20)
NUMBER = st.floats(allow_nan=False)
RECORDS = st.builds(
    Record,
    cell=st.builds(
        Cell,
        arm=TEXT,
        phase=st.sampled_from(["search", "confirm"]),
        index=st.integers(0, 9),
        seed=st.integers(0, 2**31 - 1),
        epochs=st.integers(1, 200),
        setting=st.dictionaries(TEXT, st.booleans() | st.integers() | NUMBER | TEXT, max_size=3),
    ),
    outcome=st.builds(
        Outcome,
        status=st.sampled_from(["complete", "diverged", "failed"]),
        metrics=st.dictionaries(TEXT, NUMBER, max_size=3),
        error=st.none() | TEXT,
    ),
    trial_hash=TEXT,
    ended=TEXT,
)


@settings(max_examples=50)
@given(st.lists(RECORDS, max_size=4))
def test_any_record_comes_back_as_it_was_on_a_line_of_its_own(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    ledger = Ledger(path)
    for each in records:
        ledger.append(each)
    assert list(read_ledger(path)) == ledger.records == records
    assert len(path.read_bytes().splitlines() if records else []) == len(records)


def test_a_ledger_that_is_not_there_is_empty_and_is_not_made_by_reading(tmp_path):
    path = tmp_path / "ledger.jsonl"
    assert Ledger(path).records == []
    assert not path.exists()


def test_append_returns_only_after_the_line_is_on_disk(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(ledger.path.read_bytes()))
    ledger.append(record(0))
    assert synced == [ledger.path.read_bytes()]


def test_a_last_line_cut_at_any_byte_is_dropped_and_written_over(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(record(0))
    first = path.stat().st_size
    ledger.append(record(1))
    whole = path.read_bytes()
    for size in range(first, len(whole)):
        path.write_bytes(whole[:size])
        assert list(read_ledger(path)) == [record(0)], "reading changes nothing"
        again = Ledger(path)
        again.append(record(1))
        assert path.read_bytes() == whole


def test_a_cut_first_line_leaves_an_empty_ledger(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"cell": ')
    assert Ledger(path).records == []
    assert path.read_bytes() == b""


DAMAGE = [
    b"not json",
    b"",
    b"[]",
    b"{}",
    b"3",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b'{"cell": 3, "outcome": 3}',
    b'{"cell": {}, "outcome": {}}',
    json.dumps({**json.loads(json.dumps(vars(record(0)), default=vars)), "extra": 1}).encode(),
]


@pytest.mark.parametrize("line", DAMAGE)
def test_damage_before_the_end_is_an_error_that_names_the_line(tmp_path, line):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(record(0))
    damaged = path.read_bytes() + line + b"\n" + path.read_bytes()
    path.write_bytes(damaged)
    with pytest.raises(LedgerError, match=r"ledger\.jsonl:2: not a record of a trial") as caught:
        Ledger(path)
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == damaged, "a ledger that cannot be trusted is left alone"


@pytest.mark.parametrize("position", [0, 20, 150])
def test_a_changed_byte_in_the_middle_is_an_error_that_names_the_line(tmp_path, position):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(record(0))
    first = ledger.path.stat().st_size
    ledger.append(record(1))
    ledger.append(record(2))
    content = bytearray(ledger.path.read_bytes())
    content[first + position] = 0xFF
    ledger.path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.jsonl:2: "):
        Ledger(ledger.path)


@pytest.mark.parametrize("tail", [b"\x00" * 9, b'{"cell"', b"\xff\xfe", b"\xc3", b"\r", b" "])
def test_any_unfinished_tail_is_dropped(tmp_path, tail):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(record(0))
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + tail)
    assert list(read_ledger(ledger.path)) == [record(0)]
    assert Ledger(ledger.path).records == [record(0)]
    assert ledger.path.read_bytes() == whole


def test_ids_tell_trials_apart_and_are_safe_names():
    search = Cell("dense", "search", 3, 9, 2, {})
    confirm = Cell("dense", "confirm", 0, 5, 2, {})
    assert (search.id, confirm.id) == ("dense-search-3", "dense-confirm-seed5")


@pytest.mark.parametrize(
    ("cell", "name", "label"),
    [
        (Cell("dense", "search", 3, 9, 2, {}, repeat=2), "dense-search2-3", "dense/search2/3"),
        (Cell("dense", "race", 4, 9, 2, {}), "dense-race-4", "dense/race/4"),
        (Cell("dense", "race", 4, 9, 2, {}, repeat=11), "dense-race11-4", "dense/race11/4"),
        (Cell("a-b", "confirm", 1, 6, 2, {}, choice="written"), "a-b-written-seed6", "a-b/written/seed6"),
        (Cell("dense", "confirm", 0, 5, 2, {}, member=2), "dense-confirm2-seed5", "dense#2/confirm/seed5"),
    ],
)
def test_an_id_tells_which_trial_it_is(cell, name, label):
    assert (cell.id, cell.name) == (name, label)
    assert cell_of(name, cell.seed, cell.epochs, report_seeds=(5, 6)) == cell


def test_a_ledger_of_the_old_protocol_is_read(tmp_path):
    old = {"arm": "ds", "phase": "confirm", "index": 1, "seed": 4, "epochs": 2, "setting": {}, "member": 0}
    line = {"cell": old, "outcome": vars(record(0).outcome), "trial_hash": "h", "ended": "t"}
    (tmp_path / "ledger.jsonl").write_text(json.dumps(line) + "\n")
    (read,) = read_ledger(tmp_path / "ledger.jsonl")
    assert (read.cell.repeat, read.cell.choice, read.cell.rows) == (0, "tuned", {"tuned": "ds"})


def test_a_trial_without_files_has_no_end_and_no_epochs(tmp_path):
    assert read_outcome(tmp_path) is None
    assert list(read_epochs(tmp_path)) == []


def test_write_whole_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "outcome.json"
    path.write_text("old")
    write_whole(path, '{"status": "complete", "metrics": {"epoch": 1.0}}')
    assert read_outcome(tmp_path) == Outcome("complete", {"epoch": 1.0})
    assert [file.name for file in tmp_path.iterdir()] == ["outcome.json"]


def test_epochs_cut_at_any_byte_keep_every_whole_line(tmp_path):
    lines = [json.dumps({"epoch": float(epoch), "train/loss": 1 / epoch}) + "\n" for epoch in (1, 2, 3)]
    whole = "".join(lines).encode()
    for size in range(len(whole) + 1):
        (tmp_path / "epochs.jsonl").write_bytes(whole[:size])
        found = [line["epoch"] for line in read_epochs(tmp_path)]
        assert found == [1.0, 2.0, 3.0][: whole[:size].count(b"\n")]


def test_an_outcome_that_was_being_written_has_not_happened(tmp_path):
    (tmp_path / "outcome.json.tmp").write_text('{"status": "comp')
    assert read_outcome(tmp_path) is None


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_write_whole_leaves_the_old_text_where_it_fails(tmp_path, monkeypatch, failing):
    def fail(*_):
        raise OSError("disk full")

    path = tmp_path / "outcome.json"
    write_whole(path, "old")
    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, "new")
    assert path.read_text() == "old"


def test_text_is_written_as_utf8(tmp_path):
    write_whole(tmp_path / "table.md", "50 % ± 1 → ✓\n")
    assert (tmp_path / "table.md").read_bytes() == "50 % ± 1 → ✓\n".encode()


def test_half_a_line_never_stays_when_the_disk_is_full(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(record(0))
    before = ledger.path.read_bytes()

    def full(number):
        ledger.path.write_bytes(before + b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            ledger.append(record(1))
    assert ledger.path.read_bytes() == before
    assert ledger.records == [record(0)]
    ledger.append(record(1))
    assert list(read_ledger(ledger.path)) == [record(0), record(1)]
