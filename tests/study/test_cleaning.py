"""What a study frees, and what it never does."""

import fcntl
import os
import shutil

import adoption
import pytest

from dks_study import cli

KEPT = ("ledger.jsonl", "provenance.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "donor-1"
    adoption.make_up(adoption.study_of("random", 2, 2, 2), folder)
    return folder


@pytest.fixture
def study(made, tmp_path):
    """A finished study, with a trial that has not ended and what a killed session left in the scratch folder."""
    folder = shutil.copytree(made, tmp_path / "results" / "donor-1")
    begun = folder / "trials" / "arm0-search-9"
    begun.mkdir()
    (begun / "last.pt").write_bytes(b"state")
    (folder / ".tune").mkdir()
    (folder / ".tune" / "left").write_bytes(bytes(2**20))
    return folder


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_checkpoints_of_finished_trials_and_scratch_go_and_nothing_else(study, capsys):
    before = files(study)
    assert cli.main(["clean", str(study)]) == 0
    gone = before - files(study)
    assert gone == {name for name in before if name.endswith(".pt") or ".tune" in name} - {
        "trials/arm0-search-9/last.pt"
    }
    assert "scratch: 1.0 MiB freed" in capsys.readouterr().out


def test_a_dry_run_frees_nothing(study, capsys):
    before = files(study)
    assert cli.main(["clean", str(study), "--dry-run"]) == 0
    assert files(study) == before
    assert "checkpoints of finished trials: 0.6 MiB would be freed" in capsys.readouterr().out


def test_confirmed_networks_can_stay(study):
    before = files(study)
    (study / "trials" / "arm0-search-0" / "best.pt").write_bytes(b"state")
    assert cli.main(["clean", str(study), "--keep-best"]) == 0
    assert before - files(study) == {".tune/left"}
    assert not (study / "trials" / "arm0-search-0" / "best.pt").exists()


def test_what_other_studies_hold_as_well_is_said(study, tmp_path, capsys):
    shutil.copytree(study, tmp_path / "other", copy_function=os.link)
    assert cli.main(["clean", str(study)]) == 0
    out = capsys.readouterr().out
    assert "checkpoints of finished trials: 0.0 MiB freed (0.6 MiB more are held by other studies, too)" in out
    assert any((tmp_path / "other").glob("trials/arm0-*-seed0/last.pt"))


def test_a_study_that_runs_is_left_alone(study, capsys):
    before = files(study)
    with (study / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("process 1 on here since now")
        lock.flush()
        assert cli.main(["clean", str(study)]) == 2
    assert capsys.readouterr().err == f"dks-study: {study}: this study is being run by process 1 on here since now\n"
    assert files(study) == before


def test_a_folder_that_is_no_study_is_left_alone(tmp_path, capsys):
    (tmp_path / "last.pt").write_bytes(b"state")
    assert cli.main(["clean", str(tmp_path)]) == 2
    assert "not the results of a study: provenance.json is missing" in capsys.readouterr().err
    assert files(tmp_path) == {"last.pt"}
