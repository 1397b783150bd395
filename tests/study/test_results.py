"""From a ledger and the trials' own files to tidy frames and back."""

import json
import random

import pandas as pd
import pytest
from studies import small_study

from dks_study import cli
from dks_study.spec.study import StudySpec, arm_run
from dks_study.study.cell import Cell
from dks_study.study.ledger import Ledger, Outcome, Record
from dks_study.study.provenance import new_session, write_provenance
from dks_study.study.results import ResultsError, load_results, write_results

STUDY = small_study(trials=1, report_seeds=(0, 1))
SEARCH = Cell("dense", "search", 0, 99, 1, {"optimiser.lr": 0.05, "loss.pairing": "dense"})
CONFIRM = Cell("dense", "confirm", 0, 0, 2, {"optimiser.lr": 0.05, "loss.pairing": "dense"})
LOST = Cell("baseline", "confirm", 1, 1, 2, {})
RECORDS = [
    Record(CONFIRM, Outcome("complete", {"epoch": 2.0, "val/top1/main": 80.0, "test/top1/main": 79.5}), "h1", "t1"),
    Record(LOST, Outcome("failed", {}, "RuntimeError: no memory"), "h2", "t2"),
    Record(SEARCH, Outcome("complete", {"epoch": 1.0, "val/top1/main": 60.0}), "h3", "t3"),
]


def write(folder, records=RECORDS, study=STUDY):
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder / "ledger.jsonl")
    for record in records:
        ledger.append(record)
        trial = folder / "trials" / record.cell.id
        trial.mkdir(parents=True)
        epochs = range(1, record.cell.epochs + 1) if record.outcome.status == "complete" else ()
        lines = [json.dumps({"epoch": float(epoch), "train/loss": 1 / epoch}) + "\n" for epoch in epochs]
        (trial / "epochs.jsonl").write_text("".join(lines) + '{"epoch": 9.0, "tr')
    write_provenance(folder, study, [], new_session(0))
    write_results(folder)
    return folder


def test_there_is_one_row_per_trial(tmp_path):
    trials = load_results(write(tmp_path)).trials.set_index("trial")
    assert list(trials.index) == ["baseline-confirm-seed1", "dense-confirm-seed0", "dense-search-0"]
    row = trials.loc["dense-confirm-seed0"]
    assert row[["arm", "phase", "index", "seed", "epochs", "status", "trial_hash", "ended"]].tolist() == [
        "dense", "confirm", 0, 0, 2, "complete", "h1", "t1",
    ]  # fmt: skip
    assert row["setting/optimiser.lr"] == 0.05
    assert row["setting/loss.pairing"] == "dense"
    assert row["test/top1/main"] == 79.5
    assert "epoch" not in trials.columns
    assert trials["test/top1/main"].notna().tolist() == [False, True, False]


def test_a_confirmation_of_two_rows_is_there_twice_with_one_folder(tmp_path):
    setting = {"optimiser.lr": 0.05}
    outcome = RECORDS[0].outcome
    both = Cell("dense", "confirm", 0, 0, 2, setting, repeat=0, choice="both")
    tuned = Cell("dense", "confirm", 1, 1, 2, {"optimiser.lr": 0.1}, repeat=1)
    race = Cell("dense", "race", 3, 105, 2, setting, repeat=1)
    results = load_results(write(tmp_path, [Record(cell, outcome, "h", "t") for cell in (both, tuned, race)]))
    confirmed = results.trials[results.trials["phase"] == "confirm"]
    assert confirmed[["trial", "row", "choice", "repeat"]].to_numpy().tolist() == [
        ["dense-written-seed0", "dense (as written)", "written", 0],
        ["dense-written-seed0", "dense", "tuned", 0],
        ["dense-confirm-seed1", "dense", "tuned", 1],
    ]
    (raced,) = results.trials[results.trials["phase"] == "race"].to_dict("records")
    assert (raced["trial"], raced["row"], raced["repeat"], raced["seed"]) == ("dense-race1-3", "dense", 1, 105)
    assert results.epochs["trial"].value_counts()["dense-written-seed0"] == 2, "two epochs, once"


def test_a_trial_without_a_result_has_its_error_and_no_numbers(tmp_path):
    trials = load_results(write(tmp_path)).trials.set_index("trial")
    lost = trials.loc["baseline-confirm-seed1"]
    assert (lost["status"], lost["error"]) == ("failed", "RuntimeError: no memory")
    assert lost[["val/top1/main", "test/top1/main", "setting/optimiser.lr", "setting/loss.pairing"]].isna().all()


def test_there_is_one_row_per_whole_epoch(tmp_path):
    epochs = load_results(write(tmp_path)).epochs
    assert epochs[["trial", "epoch", "train/loss"]].to_numpy().tolist() == [
        ["dense-confirm-seed0", 1, 1.0],
        ["dense-confirm-seed0", 2, 0.5],
        ["dense-search-0", 1, 1.0],
    ]
    assert set(epochs["phase"]) == {"search", "confirm"}
    assert pd.api.types.is_integer_dtype(epochs["epoch"])


def test_the_order_of_finishing_does_not_show_in_a_byte(tmp_path):
    mixed = random.Random(1).sample(RECORDS, len(RECORDS))
    assert mixed != RECORDS
    first, second = write(tmp_path / "a"), write(tmp_path / "b", mixed)
    for name in ("trials.parquet", "epochs.parquet"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_study_without_a_trial_has_empty_frames(tmp_path):
    found = load_results(write(tmp_path, []))
    assert (len(found.trials), len(found.epochs)) == (0, 0)


@pytest.mark.parametrize("name", ["provenance.json", "trials.parquet", "epochs.parquet"])
def test_a_missing_file_is_named(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(ResultsError, match=f"not the results of a study: {name} is missing"):
        load_results(tmp_path)


def test_a_failed_write_leaves_the_old_frames(tmp_path, monkeypatch):
    write(tmp_path)
    before = (tmp_path / "trials.parquet").read_bytes()

    def fail(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail)
    with pytest.raises(OSError, match="disk full"):
        write_results(tmp_path)
    assert (tmp_path / "trials.parquet").read_bytes() == before


def test_the_study_comes_back_as_it_was_run(tmp_path):
    found = load_results(write(tmp_path)).study
    assert found == STUDY
    assert found.content_hash() == STUDY.content_hash()
    assert [arm_run(found, arm, {}) for arm in found.arms] == [arm_run(STUDY, arm, {}) for arm in STUDY.arms]


def test_an_arm_of_another_family_of_backbones_comes_back(tmp_path):
    values = small_study(trials=0, backbone={"name": "resnet", "depth": 8}).model_dump(mode="json", exclude_unset=True)
    values["arms"]["dense"] = {"backbone.name": "wrn", "backbone.depth": 10, "backbone.width": 1}
    study = StudySpec.model_validate_json(json.dumps(values))
    found = load_results(write(tmp_path, [], study)).study
    assert arm_run(found, "dense", {}) == arm_run(study, "dense", {})


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (3, "study: must be a section of keys, got 3"),
        ("x", 'study: must be a section of keys, got "x"'),
        ({}, "name: the key is missing (and 6 more)"),
    ],
)
def test_the_provenance_of_something_else_is_told_by_every_command(tmp_path, capsys, study, message):
    (tmp_path / "provenance.json").write_text(json.dumps({"study": study, "sessions": []}))
    here = str(tmp_path)
    for words in (["--status", here], ["clean", here], ["diff", here, here], ["bundle", here], ["merge", here, "x"]):
        assert cli.main(words) == 2
        rule = f"provenance.json is not that of a study: {message}"
        assert capsys.readouterr() == ("", f"dks-study: {tmp_path}: {rule}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["provenance.json"]
