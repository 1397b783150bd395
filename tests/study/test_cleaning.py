"""What a study frees, and what it never does."""

import errno
import fcntl
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import adoption
import pytest

from dks_study import cli
from dks_study.study import cleaning

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


def test_a_dry_run_of_a_study_that_runs_is_refused_too(study, capsys):
    with (study / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cli.main(["clean", str(study), "--dry-run"]) == 2
    assert "this study is being run by" in capsys.readouterr().err


def refuse_to_write(monkeypatch):
    """Make every disk one that can only be read: rights do not hold for everybody."""
    known = Path.open

    def shut(path, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def read_only(path, mode="r", *rest, **more):
        return known(path, mode, *rest, **more) if mode in ("r", "rb") else shut(path)

    monkeypatch.setattr(Path, "open", read_only)
    monkeypatch.setattr(Path, "unlink", shut)


def test_where_nothing_can_be_written_a_dry_run_tells_what_would_go(study, capsys, monkeypatch):
    before = files(study)
    refuse_to_write(monkeypatch)
    for _ in range(2):
        assert cli.main(["clean", str(study), "--dry-run"]) == 0
        assert capsys.readouterr().out
        with open(study / "lock", "w", encoding="utf-8"):  # without one, then with one
            pass
    assert cli.main(["clean", str(study)]) == 2
    assert capsys.readouterr() == ("", f"dks-study: {study}/lock: cannot be written: Read-only file system\n")
    assert files(study) == before


def test_files_that_cannot_be_deleted_are_told_in_one_line(study, capsys, monkeypatch):
    (study / "lock").touch()
    monkeypatch.setattr(cleaning, "_nobody_else", lambda *_, **__: nullcontext())
    refuse_to_write(monkeypatch)
    assert cli.main(["clean", str(study)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.endswith("last.pt: cannot be deleted: Read-only file system\n")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_goes_and_what_it_leads_to_stays(study, tmp_path, capsys, there):
    elsewhere = tmp_path / "elsewhere"
    shutil.rmtree(study / ".tune")
    (study / ".tune").symlink_to(elsewhere)
    checkpoint = next(study.glob("trials/arm0-*-seed0/last.pt"))
    if there:
        elsewhere.mkdir()
        checkpoint.replace(elsewhere / "big.pt")
        checkpoint.symlink_to(elsewhere / "big.pt")
    assert cli.main(["clean", str(study)]) == 0
    assert "scratch: 0.0 MiB freed" in capsys.readouterr().out
    assert not (study / ".tune").is_symlink()
    assert not checkpoint.is_symlink()
    assert (elsewhere / "big.pt").is_file() == there


@pytest.mark.parametrize("name", ["ledger.jsonl", "lock"])
def test_a_folder_in_place_of_a_file_is_told_in_one_line(study, made, capsys, name):
    (study / name).unlink(missing_ok=True)
    (study / name).mkdir()
    for words in (["clean", str(study)], ["--status", str(study)], ["diff", str(study), str(made)]):
        status = cli.main(words)
        err = capsys.readouterr().err
        if status == 2:
            assert err.startswith(f"dks-study: {study}/{name}: cannot be ")
            assert err.endswith(": Is a directory\n")
        else:  # whoever runs a study is nothing that it differs in
            assert (words[0], name) == ("diff", "lock")


def test_a_folder_that_is_no_study_is_left_alone(tmp_path, capsys):
    (tmp_path / "last.pt").write_bytes(b"state")
    assert cli.main(["clean", str(tmp_path)]) == 2
    assert "not the results of a study: provenance.json is missing" in capsys.readouterr().err
    assert files(tmp_path) == {"last.pt"}
