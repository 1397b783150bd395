"""Which checkpoints stay, and when there is no room for them."""

import pytest
from studies import small_study

from dks_study.study.cell import Cell
from dks_study.study.keeping import GIB, Checkpoints
from dks_study.study.ledger import Outcome, Record
from dks_study.study.storage import CHECKPOINTS, Files
from dks_study.training.arm_checks import StudyError

SIZES = {"baseline": 100, "ds": 300, "dense": 200}


def study(keep):
    return small_study().model_copy(update={"keep": keep})


def settled(folder, checkpoints, arm, index, accuracy, status="complete", phase="confirm"):
    cell = Cell(arm, phase, index, seed=index, epochs=2, setting={})
    trial = folder / "trials" / cell.id
    trial.mkdir(parents=True, exist_ok=True)
    checkpoints.started(cell.id)
    for name in CHECKPOINTS:
        (trial / name).write_bytes(b"x" * 10)
    metrics = {"val/top1/main": accuracy} if status == "complete" else {}
    record = Record(cell, Outcome(status, metrics), "hash", "now")
    checkpoints.settled(record)
    return record


def kept(folder):
    assert {path.parent for path in folder.glob("trials/*/*.pt")} == {p.parent for p in folder.glob("trials/*/*.tmp")}
    return sorted(path.parent.name for path in folder.glob("trials/*/last.pt"))


def run(folder, keep):
    checkpoints = Checkpoints(study(keep), Files(folder, None), SIZES, None)
    ended = [settled(folder, checkpoints, "dense", 0, 99.0, phase="search")]
    for index, accuracy in enumerate([50.0, 70.0, 70.0, 60.0]):
        ended.append(settled(folder, checkpoints, "dense", index, accuracy))
    ended.append(settled(folder, checkpoints, "ds", 0, 0.0, status="failed"))
    ended.append(settled(folder, checkpoints, "ds", 1, 10.0))
    return ended


def test_the_best_confirmed_trial_of_each_row_stays_the_first_of_equals(tmp_path):
    run(tmp_path, "best_per_arm")
    assert kept(tmp_path) == ["dense-confirm-seed1", "ds-confirm-seed1"]


def test_a_trial_that_failed_is_nobodys_best(tmp_path):
    checkpoints = Checkpoints(study("best_per_arm"), Files(tmp_path, None), SIZES, None)
    settled(tmp_path, checkpoints, "ds", 0, 0.0, status="diverged")
    assert kept(tmp_path) == []


@pytest.mark.parametrize(("keep", "trials"), [("all", 7), ("none", 0)])
def test_all_or_none_stay(tmp_path, keep, trials):
    run(tmp_path, keep)
    assert len(kept(tmp_path)) == trials


@pytest.mark.parametrize("cut", range(8))
def test_a_resume_at_any_point_leaves_the_same(tmp_path, cut):
    records = run(tmp_path, "all")
    for session in (records[:cut], records):  # a resume goes through what is on record once more
        checkpoints = Checkpoints(study("best_per_arm"), Files(tmp_path, None), SIZES, None)
        for record in session:
            checkpoints.settled(record)
    assert kept(tmp_path) == ["dense-confirm-seed1", "ds-confirm-seed1"]


# Two search and four confirmation trials an arm (as written, as tuned); each keeps two checkpoints.
@pytest.mark.parametrize(("keep", "at_the_end"), [("none", 0), ("best_per_arm", 2 * 2 * 600), ("all", 2 * 6 * 600)])
def test_a_budget_must_hold_what_runs_and_what_stays(tmp_path, keep, at_the_end):
    needed = 3 * 300 * 2 + at_the_end
    Checkpoints(study(keep), Files(tmp_path, None), SIZES, needed / GIB).check_room(slots=2)
    with pytest.raises(StudyError, match=r"^--disk-gib: must hold the checkpoints of .*, 0\.00 GiB, got "):
        Checkpoints(study(keep), Files(tmp_path, None), SIZES, (needed - 1) / GIB).check_room(slots=2)


def test_the_predictions_of_all_confirmations_have_room_too(tmp_path, monkeypatch):
    needed = 3 * 300 * 2 + 4 * 1000 + 4 * 500  # four confirmations an arm
    sizes = {"dense": 1000, "ds": 500, "baseline": 0}

    def minding(bytes_):
        return Checkpoints(study("none"), Files(tmp_path, None), SIZES, bytes_ / GIB if bytes_ else None, sizes)

    minding(needed).check_room(slots=2)
    with pytest.raises(StudyError, match=r"^--disk-gib: must hold the checkpoints and predictions of .*, got "):
        minding(needed - 1).check_room(slots=2)
    assert minding(6000 + 900).has_room()
    assert not minding(6000 + 899).has_room()
    monkeypatch.setattr(Files, "free_bytes", lambda self: needed - 100)
    with pytest.raises(StudyError, match="checkpoints and predictions need"):
        minding(None).check_room(slots=2)
    (tmp_path / "trials" / "one").mkdir(parents=True)
    (tmp_path / "trials" / "one" / "predictions.npz").write_bytes(bytes(100))  # of an earlier session
    minding(None).check_room(slots=2)


def test_a_disk_without_room_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Files, "free_bytes", lambda self: 1000)
    with pytest.raises(StudyError, match=r"checkpoints need .* GiB, .* are free: free some, or keep less"):
        Checkpoints(study("all"), Files(tmp_path, None), SIZES, None).check_room(slots=2)


def test_there_is_room_while_the_budget_and_the_disk_last(tmp_path, monkeypatch):
    checkpoints = Checkpoints(study("all"), Files(tmp_path, None), SIZES, (3 * 300 + 40) / GIB)
    assert checkpoints.has_room()
    settled(tmp_path, checkpoints, "ds", 0, 50.0)
    assert checkpoints.has_room(), "forty bytes are kept"
    settled(tmp_path, checkpoints, "ds", 1, 50.0)
    assert not checkpoints.has_room()
    monkeypatch.setattr(Files, "free_bytes", lambda self: 899)
    assert not Checkpoints(study("all"), Files(tmp_path / "other", None), SIZES, None).has_room()
