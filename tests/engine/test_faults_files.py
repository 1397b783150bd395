"""Results that were cut in half, copied or moved, and what is kept of them."""

import os
import shutil

import pytest
from whole_studies import TRIALS, finish, lasting, records, same_tables

from dks_study.study.export import ExportError, export
from dks_study.study.results import ResultsError, load_results


def halve(path):
    content = path.read_bytes()
    path.unlink()  # best.pt and last.pt can be one file
    path.write_bytes(content[: len(content) // 2])


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "results" / folder.name)


@pytest.mark.slow
def test_files_cut_in_half_by_a_crash_change_nothing(space, uninterrupted, half_way):
    last = records(half_way)[-1].cell.id
    ledger = half_way / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-40])
    for name in ("outcome.json", "last.pt", "best.pt"):  # of the trial whose line was cut
        halve(half_way / "trials" / last / name)
    for trial in set(half_way.glob("trials/*")) - {half_way / "trials" / r.cell.id for r in records(half_way)}:
        for path in (trial / "epochs.jsonl", trial / "trial.json"):
            if path.exists():
                halve(path)
    for name in ("trials.parquet", "table.md", "optuna.journal"):
        (half_way / name).write_bytes((uninterrupted[0] / name).read_bytes()[:100])
    finish(space, half_way.parent, "keep=all")
    assert same_tables(half_way, uninterrupted[0])
    assert lasting(half_way) == lasting(uninterrupted[0])
    assert len(records(half_way)) == TRIALS


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["all", "none", "best_per_arm"])
def test_a_copied_and_moved_study_goes_on_and_keeps_what_it_is_asked_to(space, uninterrupted, half_way, tmp_path, keep):
    moved = tmp_path / "elsewhere" / half_way.name
    moved.parent.mkdir()
    os.rename(half_way, moved)
    finish(space, moved.parent, f"keep={keep}")
    assert same_tables(moved, uninterrupted[0])
    assert lasting(moved) == lasting(uninterrupted[0])
    confirmed = [record for record in records(moved) if record.cell.phase == "confirm"]
    best = {}
    for record in sorted(confirmed, key=lambda record: record.cell.index, reverse=True):
        worth = record.outcome.metrics["val/top1/main"]
        for row in record.cell.rows.values():
            if row not in best or worth >= best[row][0]:
                best[row] = worth, record.cell.id
    promised = {
        "all": {record.cell.id for record in records(moved)},
        "none": set(),
        "best_per_arm": {trial for _, trial in best.values()},
    }
    for name in ("last.pt", "best.pt"):
        assert {path.parent.name for path in moved.glob(f"trials/*/{name}")} == promised[keep]
    assert not list(moved.glob("trials/*/*.tmp"))
    for trial in promised[keep]:
        assert "loads strictly" in export(moved / "trials" / trial, "weights")
    for trial in promised["all"] - promised[keep]:
        with pytest.raises(ExportError, match=r"last\.pt.*keep"):
            export(moved / "trials" / trial, "weights")


@pytest.mark.slow
def test_tables_and_frames_cut_in_half_are_written_anew(space, uninterrupted, tmp_path):
    folder = copied(uninterrupted[0], tmp_path)
    names = ("trials.parquet", "epochs.parquet", "table.md", "table.csv")
    for name in names:
        halve(folder / name)
    with pytest.raises(ResultsError, match=r"trials\.parquet: is damaged: run the study's command again"):
        load_results(folder)
    finish(space, folder.parent)
    for name in names:
        assert (folder / name).read_bytes() == (uninterrupted[0] / name).read_bytes()


@pytest.mark.slow
def test_epochs_that_are_lost_after_a_study_has_ended_are_named(space, uninterrupted, tmp_path):
    folder = copied(uninterrupted[0], tmp_path)
    halve(folder / "trials" / "dense-confirm-seed1" / "epochs.jsonl")
    _, out, _ = finish(space, folder.parent)
    assert "dense-confirm-seed1/epochs.jsonl is damaged: epochs.parquet lacks its epochs." in out
    assert same_tables(folder, uninterrupted[0])


def damage_ledger(folder):
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    lines[1] = lines[1][: len(lines[1]) // 2]
    (folder / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    return r"ledger.jsonl:2: not a record of a trial: "


def damage_provenance(folder):
    halve(folder / "provenance.json")
    return r"provenance.json: is damaged: put a copy back; or delete it"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [damage_ledger, damage_provenance])
def test_what_cannot_be_put_right_is_one_clear_line(space, half_way, damage):
    message = damage(half_way)
    before = {path: path.read_bytes() for path in half_way.rglob("*") if path.is_file() and path.name != "lock"}
    _, _, err = finish(space, half_way.parent, "keep=all", code=2)
    assert message in err
    assert len(err.splitlines()) == 1
    assert before == {path: path.read_bytes() for path in half_way.rglob("*") if path.is_file() and path.name != "lock"}
