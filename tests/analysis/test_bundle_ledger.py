"""A bundle's ledger is that of its results."""

import json
import shutil

import adoption
import pytest

from dks_study import cli
from dks_study.study.results import write_results


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A study with its ledger, and who ran it."""
    folder = tmp_path_factory.mktemp("ran") / "donor-1"
    adoption.make_up(adoption.study_of("random", 2, 2, 2), folder)
    write_results(folder)
    (folder / "lock").write_text("process 1 on here since now")
    return folder


def last_line_gone(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def one_line_more(path):
    last = json.loads(path.read_text().splitlines()[-1])
    last["cell"]["arm"], last["cell"]["seed"] = "arm1", last["cell"]["seed"] + 77
    path.write_text(path.read_text() + json.dumps(last) + "\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("garbage\n"), "ledger.jsonl:1: not a record of a trial: it must be JSON"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "ledger.jsonl: must hold all trials that trials.parq"),
        (last_line_gone, "ledger.jsonl: must hold all trials that trials.parquet holds, got no arm"),
        (lambda path: path.write_text(""), "ledger.jsonl: must hold all trials that trials.parquet holds, got no arm"),
        (lambda path: path.unlink(), "ledger.jsonl: must be there where a study ran, got none"),
        (one_line_more, "trials.parquet: must hold all trials that ledger.jsonl holds, got no arm1-"),
    ],
)
@pytest.mark.parametrize("to", ["a.zip", "kept"])
def test_a_ledger_that_is_not_that_of_the_results_is_not_bundled(ran, tmp_path, capsys, damage, message, to):
    folder = shutil.copytree(ran, tmp_path / "study")
    assert cli.main(["bundle", str(folder), str(tmp_path / "whole.zip")]) == 0
    capsys.readouterr()
    damage(folder / "ledger.jsonl")
    assert cli.main(["bundle", str(folder), str(tmp_path / to)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"dks-study: {folder}/{message}")
    assert not (tmp_path / to).exists()
