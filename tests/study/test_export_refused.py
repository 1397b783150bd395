"""What cannot be exported, or not written there, gets one line."""

import pytest
import torch
from exported import trained, trial_spec

from dks_study import cli
from dks_study.study.export import main


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    trained(folder)
    return folder


def cut_checkpoint(folder):
    whole = (folder / "last.pt").read_bytes()
    (folder / "last.pt").write_bytes(whole[: len(whole) // 2])


def other_trial(folder):
    (folder / "trial.json").write_text(trial_spec(seed=4).model_dump_json())


def longer_trial(folder):
    spec = trial_spec(epochs=2)
    state = torch.load(folder / "last.pt", weights_only=True)
    torch.save(state | {"trial_hash": spec.content_hash()}, folder / "last.pt")
    (folder / "trial.json").write_text(spec.model_dump_json())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "trial.json").unlink(), "must be the folder of a trial"),
        (lambda folder: (folder / "trial.json").write_bytes(b"\xff\xfe{}"), "must be the folder of a trial"),
        (lambda folder: (folder / "last.pt").unlink(), "must hold last.pt, a whole checkpoint"),
        (cut_checkpoint, "must hold last.pt, a whole checkpoint"),
        (other_trial, "must hold last.pt, a whole checkpoint of this very trial"),
        (longer_trial, "must be trained to its end, got 1 of 2 epochs"),
    ],
)
def test_what_cannot_be_exported_gets_one_line_and_status_2(tmp_path, capsys, trial, damage, message):
    for name in ("trial.json", "last.pt"):
        (tmp_path / name).write_bytes((trial / name).read_bytes())
    damage(tmp_path)
    assert main([str(tmp_path), "--to", "weights"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_a_file_that_cannot_be_written_gets_one_line(trial, capsys, tmp_path):
    assert main([str(trial), "--to", "weights", "--out", str(tmp_path / "no" / "where.pt")]) == 2
    assert "--out: must be a file that can be written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["provenance.json", "trials/t/last.pt", "trials/t/trial.json", "trials/t/trial"])
def test_nothing_but_an_earlier_export_is_written_over(trial, capsys, tmp_path, name):
    folder = tmp_path / "trials/t"
    folder.mkdir(parents=True)
    for each in ("trial.json", "last.pt"):
        (folder / each).write_bytes((trial / each).read_bytes())
    (tmp_path / "provenance.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main([str(folder), "--to", "weights", "--out", str(tmp_path / name)]) == 2
    rule = f"must be new, or an earlier export with its {(tmp_path / name).name}.json beside it"
    assert capsys.readouterr().err == f"dks-study export: --out: {rule}, got {tmp_path / name}\n"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for _ in range(2):
        assert main([str(folder), "--to", "weights", "--out", str(tmp_path / "mine.pt")]) == 0


@pytest.mark.parametrize(
    ("out", "said"),
    [(".", "Is a directory"), ("/", "Is a directory"), ("n" * 300, "name too long"), ("n" * 252, "name too long")],
)
def test_what_is_no_name_of_a_file_gets_one_line(trial, capsys, tmp_path, monkeypatch, out, said):
    monkeypatch.chdir(tmp_path)
    assert main([str(trial), "--to", "weights", "--out", out]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"dks-study export: --out: must be a file that can be written, got {out}: ")
    assert said in err
    assert not list(tmp_path.iterdir())


def test_an_empty_name_of_a_file_gets_one_line(trial, capsys):
    assert cli.main(["export", str(trial), "--to", "weights", "--out", ""]) == 2
    assert capsys.readouterr().err == "dks-study: --out: must be a file, got ''\n"
