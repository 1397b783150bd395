"""The ledger survives a cut at any byte, and nothing else."""

import json

import pytest

from dks_study.ledger import (
    Cell,
    Ledger,
    LedgerError,
    Outcome,
    Record,
    read_epochs,
    read_ledger,
    read_outcome,
    write_whole,
)


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


@pytest.mark.parametrize("line", ["not json", "[]", "{}", json.dumps({"cell": {}, "outcome": {}})])
def test_damage_before_the_end_is_an_error_that_names_the_line(tmp_path, line):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(record(0))
    path.write_text(path.read_text() + line + "\n" + path.read_text())
    with pytest.raises(LedgerError, match=r"ledger\.jsonl:2: not a record of a trial"):
        Ledger(path)


def test_ids_tell_trials_apart_and_are_safe_names():
    search = Cell("dense", "search", 3, 9, 2, {})
    confirm = Cell("dense", "confirm", 0, 5, 2, {})
    assert (search.id, confirm.id) == ("dense-search-3", "dense-confirm-seed5")


def test_a_trial_without_files_has_no_end_and_no_epochs(tmp_path):
    assert read_outcome(tmp_path) is None
    assert list(read_epochs(tmp_path)) == []


def test_write_whole_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "outcome.json"
    path.write_text("old")
    write_whole(path, '{"status": "complete", "metrics": {"epoch": 1.0}}')
    assert read_outcome(tmp_path) == Outcome("complete", {"epoch": 1.0})
    assert [file.name for file in tmp_path.iterdir()] == ["outcome.json"]
