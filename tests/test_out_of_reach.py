"""Paths at which nobody may look, names that are too long, words that are not for printing: one line, status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import run_study
from dks_study import cli
from dks_study.spec.reaching import reached
from dks_study.spec.yamldoc import SpecError
from dks_study.training.data.error import DataError
from dks_study.training.data.listing import list_folder

ROOT = Path(run_study.__file__).parent
LONG = "n" * 300
SPACE = ("--space", "dense_vs_oneway")
FOLDER = "trial.data.name=image_folder"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([*SPACE, "--dry-run", "--results", LONG], f"--results {LONG}"),
        ([*SPACE, "--results", LONG], f"--results {LONG}"),
        (["--status", LONG], f"--status {LONG}"),
        ([*SPACE, "--check-data", "--set", FOLDER, "--set", f"trial.data.root={LONG}"], "data.root: must be a folder"),
        (["overview", LONG], LONG),
        (["grow", LONG, "--seeds", "6"], LONG),
        (["diff", LONG, LONG], LONG),
        (["clean", LONG], LONG),
        (["merge", LONG, "other"], LONG),
        (["checklist", LONG], LONG),
        (["report", LONG], LONG),
        (["verify", LONG, "--number", "5"], LONG),
    ],
    ids=lambda value: " ".join(value).replace(LONG, "LONG") if isinstance(value, list) else "",
)
def test_a_name_that_is_too_long_is_refused_in_one_line(words, asked, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_study.main(words) == 2
    _, err = capsys.readouterr()
    assert asked in err
    assert "File name too long" in err
    assert len(err.splitlines()) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("words", [[*SPACE, "--dry-run"], [*SPACE]], ids=["planned", "run"])
def test_results_that_are_a_file_are_refused_in_one_line(words, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert run_study.main([*words, "--results", str(tmp_path / "file")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.split(": ", 1)[1] == f"--results must be a folder, got a file: {tmp_path / 'file'}\n"
    assert os.listdir(tmp_path) == ["file"]


def test_the_tests_of_the_data_are_named_by_their_key():
    with pytest.raises(
        DataError, match=r"data\.tests\.blur: must be a folder that can be read, .*: File name too long"
    ):
        list_folder(LONG, "data.tests.blur")


@pytest.fixture
def shut(monkeypatch):
    """Refuse to look at anything below a folder `shut`, whoever asks: rights do not hold for everybody."""
    known = os.stat

    def stat(path, *rest, **more):
        if "shut" in os.fspath(path).split(os.sep):
            raise PermissionError(13, "Permission denied", path)
        return known(path, *rest, **more)

    monkeypatch.setattr(os, "stat", stat)


@pytest.mark.parametrize("path", ["shut", "shut/in/crlf.yaml"])
def test_a_folder_without_rights_is_told_as_such(path, shut):
    with pytest.raises(SpecError, match=f"^--space {path}: Permission denied$"):
        reached(Path(path), "--space ")


def test_a_space_in_a_folder_without_rights_is_not_said_to_be_missing(shut, capsys):
    assert run_study.main(["--space", "shut/in/crlf.yaml"]) == 2
    assert capsys.readouterr().err == "run_study: --space shut/in/crlf.yaml: Permission denied\n"


def test_what_is_not_there_is_not_out_of_reach(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file", tmp_path / "file" / "in", tmp_path / "nothing"):
        assert reached(path) == path


@pytest.mark.parametrize(
    "words",
    [
        ["--spaces\nx"],
        ["two\nlines"],
        ["--status", "a\nb"],
        ["report", "a\nb"],
        ["diff", "a\nb", "c"],
        ["merge", "a\nb"],
    ],
)
def test_a_newline_in_what_was_given_makes_no_second_line(words, capsys):
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "\\n" in err


def test_the_help_says_what_becomes_of_a_section(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "in place of what stands there, be it a section: arms.ds={} leaves none of it" in told


def test_a_machine_that_cannot_be_named_so_is_told_in_our_words(capsys, tmp_path):
    (tmp_path / "lock").write_text("process 1 on here since 2026-01-01 00:00:00")
    assert cli.main(["watch", str(tmp_path), "--bind", "a..b", "--port", "0"]) == 2
    assert "got a..b and 0: that is no name of a machine" in capsys.readouterr().err


def test_a_head_that_cannot_be_named_so_is_told_in_our_words():
    from dks_study.engine.joining import _answering

    with pytest.raises(ValueError, match=r"^a\.\.b is no name of a machine$"):
        _answering("a..b:6379")


@pytest.mark.parametrize("words", [["--list"], ["--space", "dense_vs_oneway"], ["doctor"]])
def test_a_current_folder_that_is_gone_is_one_line(words, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    line = 'rmdir "$PWD"; exec "$@"'
    command = ["bash", "-c", line, "bash", sys.executable, str(ROOT / "run_study.py"), *words]
    done = subprocess.run(command, cwd=gone, capture_output=True, text=True, check=False)
    rule = "the current folder must be there, got one that is gone (No such file or directory): cd to one"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"run_study: {rule}\n")


def test_a_name_that_is_too_long_for_a_file_is_told_so(capsys):
    assert cli.main(["--space", LONG]) == 2
    assert capsys.readouterr().err == f"dks-study: --space {LONG}: File name too long\n"


@pytest.mark.parametrize(
    "option", ["--results", "--status", "--address", "--optuna-storage", "--storage", "--reuse", "--mlflow", "--wandb"]
)
def test_an_option_that_says_nothing_is_refused_by_its_name(option, capsys):
    assert cli.main([*SPACE, "--dry-run", option, " "]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"dks-study: {option}: must be ")
    assert err.endswith(", got ' '\n")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"question: a\0b", "not valid YAML: U+0000 is no character of a text"),
        ("question: Q".encode("utf-16"), "cannot be read: it must be text in UTF-8"),
        (b"a: " + b"[" * 10_000 + b"]" * 10_000, "not valid YAML: it is nested too deeply"),
        (b"\n".join(b" " * depth + b"a:" for depth in range(1000)), "not valid YAML: it is nested too deeply"),
        (b"question: " + b"x" * 2**20, "must have at most 1048576 bytes, got 1048586"),
        (b"a: &a [x]\nb: [*a, *a]", "aliases (*name) are not used here: write the value out"),
    ],
)
def test_a_file_that_is_no_description_is_one_line(content, rule, tmp_path, capsys):
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert cli.main(["--space", str(path), "--dry-run", "--results", str(tmp_path / "results")]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert f"{path}:" in err
    assert rule in err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "words", [["--set", "trial.epochs=٣"], ["--set", "=3"], ["--set", "a..b=3"], ["--hours", "-3"]]
)
def test_an_odd_override_is_one_line(words, capsys):
    assert cli.main([*SPACE, "--dry-run", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_is_no_file_is_no_space(tmp_path, capsys):
    os.mkfifo(tmp_path / "fifo")
    assert cli.main(["--space", str(tmp_path / "fifo")]) == 2
    assert f"--space {tmp_path / 'fifo'}: no such space" in capsys.readouterr().err
