"""Lost trials get another try; the last one counts, and no trial with a result is tried again."""

from dataclasses import replace

import pytest

from dks_study.study.cell import Cell
from dks_study.study.ledger import Ledger, Outcome, Record, read_ledger, write_outcome
from dks_study.study.retrying import RetryError, try_again
from dks_study.study.storage import Files

DONE = Outcome("complete", {"val/top1/main": 50.0})


def cell(phase, index, arm="dense"):
    return Cell(arm, phase, index, index, 2, {})


def record(which, outcome):
    return Record(which, outcome, "hash", "now")


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path, None)


def ledger_of(files, *records):
    ledger = Ledger(files.folder / "ledger.jsonl")
    for each in records:
        ledger.append(each)
        files.trial(each.cell.id).mkdir(parents=True)
        write_outcome(files.trial(each.cell.id), each.outcome)
    return ledger


def lost(status):
    return Outcome(status, {}, "why")


def test_trials_are_named_by_how_they_were_lost_or_by_id(files):
    kinds = ("failed", "diverged", "out_of_memory", "failed")
    ledger = ledger_of(files, *(record(cell("confirm", i), lost(kind)) for i, kind in enumerate(kinds)))
    assert try_again(ledger, files, ["failed"]) == ["dense-confirm-seed0", "dense-confirm-seed3"]
    assert try_again(ledger, files, ["dense-confirm-seed1"]) == ["dense-confirm-seed1"]
    assert [each.cell.id for each in ledger.records] == ["dense-confirm-seed2"]
    assert list(read_ledger(ledger.path)) == ledger.records
    assert not (files.trial("dense-confirm-seed0") / "outcome.json").exists()
    assert (files.trial("dense-confirm-seed2") / "outcome.json").exists()


def test_every_line_stays_and_the_last_try_counts_whatever_it_is(files):
    ledger = ledger_of(files, record(cell("confirm", 0), lost("failed")))
    for tries, outcome in ((2, lost("diverged")), (3, DONE)):
        try_again(ledger, files, ["failed", "diverged"])
        ledger = Ledger(ledger.path)  # the command is run again
        assert ledger.records == []
        again = cell("confirm", 0)
        ledger.append(replace(record(again, outcome), tries=ledger.tries(again.id)))
        assert [(each.outcome, each.tries) for each in read_ledger(ledger.path)] == [(outcome, tries)]
    assert len(ledger.path.read_text().splitlines()) == 5


def test_a_trial_with_a_result_is_never_tried_again(files):
    stopped = Outcome("stopped", {"val/top1/main": 9.0}, "after epoch 1", [9.0])
    ledger = ledger_of(files, record(cell("confirm", 0), DONE), record(cell("search", 0), stopped))
    before = ledger.path.read_bytes()
    for name, status in (("dense-confirm-seed0", "complete"), ("dense-search-0", "stopped")):
        with pytest.raises(
            RetryError, match=rf"or a trial that was lost \(none was\), got '{name}', which is {status}$"
        ):
            try_again(ledger, files, [name])
        with pytest.raises(ValueError, match="only a lost trial is tried again"):
            ledger.try_again(name)
    assert try_again(ledger, files, ["failed"]) == []
    assert ledger.path.read_bytes() == before


def test_a_search_that_is_being_confirmed_stays_as_it_is(files):
    ledger = ledger_of(
        files,
        record(cell("search", 0), lost("failed")),
        record(cell("search", 0, "ds"), lost("failed")),
        record(cell("confirm", 0), lost("failed")),
    )
    before = ledger.path.read_bytes()
    with pytest.raises(RetryError, match=r"whose choice is being confirmed by now, got dense-search-0$"):
        try_again(ledger, files, ["failed"])
    assert ledger.path.read_bytes() == before
    assert (files.trial("ds-search-0") / "outcome.json").exists()
    assert try_again(ledger, files, ["ds-search-0", "dense-confirm-seed0"]) == ["ds-search-0", "dense-confirm-seed0"]


def test_an_unknown_word_is_refused_before_anything_changes(files):
    ledger = ledger_of(files, record(cell("confirm", 0), lost("failed")))
    with pytest.raises(RetryError, match=r"must be .*\(dense-confirm-seed0\), got 'faild'$"):
        try_again(ledger, files, ["failed", "faild"])
    assert len(ledger.records) == 1
