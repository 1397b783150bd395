"""A stranger's check: what is drawn, what is trained anew, and that an altered number is found."""

import errno
import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from studies import small_study

from dks_study import cli, verifying
from dks_study.analysis.tables.study import write_tables
from dks_study.studies import read
from dks_study.study import provenance
from dks_study.study.began_with import look_at_data
from dks_study.study.cell import Cell
from dks_study.study.claims import chance, claims_in, digest, drawn
from dks_study.study.ledger import Ledger, Record, read_outcome
from dks_study.study.planner import Planner, trial_of
from dks_study.study.results import write_results
from dks_study.study.sealing import plan_of
from dks_study.study.search import optuna_suggest
from dks_study.study.trial import run_trial
from dks_study.study.verifying import compared, moved

METRIC = "test/top1/main"


def play(study, folder):
    """Run `study` in this process, as a session does."""
    ledger = Ledger(folder / "ledger.jsonl")
    planner = Planner(study, optuna_suggest(study), ledger.records)
    ledger.seal(plan_of(study))
    while isinstance(cell := planner.next(), Cell):
        trial, place = trial_of(study, cell), folder / "trials" / cell.id
        run_trial(trial, place, torch.device("cpu"), lambda _: None)
        outcome = read_outcome(place)
        ledger.append(Record(cell, outcome, trial.content_hash(), provenance.now()))
        planner.settle(cell.id, outcome)
    data = look_at_data(study, folder, print).record
    provenance.write_provenance(folder, study, [], provenance.ended(provenance.new_session(0)), data)
    write_results(folder)
    write_tables(read(folder).found, folder)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verified") / "small-study"
    folder.mkdir()
    few = {"name": "digits", "label_noise": 0.4, "train_images": 256}
    play(small_study(trials=2, arms=("baseline", "dense"), report_seeds=(0, 1), data=few), folder)
    return folder


@pytest.fixture
def study(played, tmp_path):
    """A copy that may be spoiled."""
    return shutil.copytree(played, tmp_path / played.name)


@pytest.fixture
def kept(study):
    """The same as results are kept: without ledger and trials."""
    (study / "ledger.jsonl").unlink()
    shutil.rmtree(study / "trials")
    return study


def verify(folder, *words, code=0):
    assert cli.main(["verify", str(folder), *words]) == code


def alter(folder, trial, by=2.0):
    """Change a number of one trial in trials.parquet."""
    frame = pd.read_parquet(folder / "trials.parquet")
    assert (frame["trial"] == trial).any()
    frame.loc[frame["trial"] == trial, METRIC] += by
    frame.to_parquet(folder / "trials.parquet", index=False)


def number_that_draws(trial, folder):
    """Return a number with which it is drawn first."""
    _, claims = claims_in(folder)
    return str(next(n for n in range(999) if drawn(claims, 0.1, n)[0].cell.id == trial))


def certificate(folder, number):
    return json.loads((folder / f"certificate-{number}.json").read_text())


def test_an_honest_study_agrees_to_the_last_bit(kept, capsys):
    verify(kept, "--number", "7", "--share", "40%")
    out = capsys.readouterr().out
    found = certificate(kept, 7)
    assert found["agrees"]
    assert found["table_comes_out_of_the_trials"]
    assert found["compared"] == "every number of every epoch that is on record, to the last bit"
    assert len(found["trained_anew"]) == -(-2 * found["trials"] // 5)
    assert all(each["points"] == 0 and not each["differs"] for each in found["trained_anew"])
    assert f"Agrees: {kept}/certificate-7.json" in out
    verify(kept, "--number", "7", "--share", "1%")  # once more


def test_a_bundle_is_checked_as_its_study_is(study, tmp_path, capsys):
    assert cli.main(["bundle", str(study), "--licence", "MIT"]) == 0
    shutil.rmtree(study)
    bundle = study.with_name(f"{study.name}.zip")
    verify(bundle, "--number", "4711", "--share", "1%")
    certificate = tmp_path / f"{study.name}-certificate-4711.json"
    assert capsys.readouterr().out.endswith(f"Agrees: {certificate}\n")
    assert json.loads(certificate.read_text())["table_comes_out_of_the_trials"] is True


def test_one_altered_number_is_found_whenever_its_trial_is_drawn(kept, capsys):
    alter(kept, "dense-written-seed1")
    number = number_that_draws("dense-written-seed1", kept)
    verify(kept, "--number", number, "--share", "10%", code=1)
    out = capsys.readouterr().out
    assert f"dense/written/seed1: DIFFERS: {METRIC}" in out
    assert "DOES NOT AGREE" in out
    (found,) = certificate(kept, number)["trained_anew"]
    assert found["points"] == pytest.approx(2.0)


def test_a_ledger_that_says_something_else_is_refused_before_anything_trains(study, capsys):
    alter(study, "dense-written-seed1")
    verify(study, "--number", "1", code=2)
    err = capsys.readouterr().err
    assert f"trials.parquet must hold what ledger.jsonl says, got {METRIC}" in err
    assert len(err.splitlines()) == 1


def test_a_plan_that_is_not_the_one_that_was_sealed_is_refused(study, capsys):
    path = study / "provenance.json"
    content = json.loads(path.read_text())
    content["study"]["table"]["margin"] = 0.5
    path.write_text(json.dumps(content))
    verify(study, "--number", "1", code=2)
    rule = "provenance.json must hold the plan that ledger.jsonl sealed, got margin 0.5 in place of none"
    assert capsys.readouterr().err == f"dks-study: {study}: {rule}\n"


def test_a_table_that_is_not_that_of_the_trials_does_not_agree(kept):
    table = kept / "table.md"
    table.write_text(table.read_text().replace("±", "+-"))
    verify(kept, "--number", "3", "--share", "1%", code=1)
    assert certificate(kept, 3)["table_comes_out_of_the_trials"] is False


def test_every_trial_is_drawn_as_often_as_the_share_says(played):
    _, claims = claims_in(played)
    draws = Counter(claim.cell.id for number in range(1000) for claim in drawn(claims, 0.25, number))
    size = len(drawn(claims, 0.25, 0))
    expected = 1000 * size / len(claims)
    assert set(draws) == {claim.cell.id for claim in claims}
    assert all(abs(count - expected) < 4 * (expected * (1 - size / len(claims))) ** 0.5 for count in draws.values())
    assert chance(len(claims), size, 1) == pytest.approx(size / len(claims))
    assert chance(20, 5, 16) == 1
    assert chance(10, 2, 3) == pytest.approx(1 - (7 * 6) / (10 * 9))


def test_whoever_changes_a_result_changes_the_lot(played):
    _, claims = claims_in(played)
    for changed in (
        replace(claims[0], metrics={**claims[0].metrics, METRIC: 1.0}),
        replace(claims[0], epochs=claims[0].epochs[:-1]),
        replace(claims[0], trial_hash="another"),
    ):
        assert digest([changed, *claims[1:]]) != digest(claims)
    assert digest(claims[::-1]) == digest(claims)


def test_a_number_that_differs_in_an_early_epoch_alone_is_named(played):
    _, (claim, *_) = claims_in(played)
    name = "val/top1/main"
    other = replace(claim, epochs=({**claim.epochs[0], name: 1.0}, *claim.epochs[1:]))
    verdict = compared(other, claim)
    assert verdict.differs == {name: (1.0, claim.epochs[0][name])}
    assert verdict.points == 0
    assert not verdict.agrees(None)
    assert verdict.agrees(0.5)


def test_elsewhere_accuracies_may_differ_within_what_is_stated(kept, capsys):
    path = kept / "provenance.json"
    known = json.loads(path.read_text())
    known["sessions"][-1]["hardware"]["cpu"] = "Another"
    path.write_text(json.dumps(known))
    verify(kept, "--number", "1", code=2)
    assert "--within: must be given where not all is as it was (processor Another then, " in capsys.readouterr().err
    alter(kept, "baseline-written-seed0", by=0.5)
    write_tables(read(kept).found, kept)  # the table is that of the trials
    number = number_that_draws("baseline-written-seed0", kept)
    verify(kept, "--number", number, "--share", "10%", "--within", "0.6")
    assert "0.50 points apart at most" in capsys.readouterr().out
    verify(kept, "--number", number, "--share", "10%", "--within", "0.4", code=1)
    assert certificate(kept, number)["compared"] == "accuracies after the last epoch, within 0.4 points"


def test_other_data_and_other_descriptions_are_refused(kept, capsys):
    path = kept / "provenance.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps(known | {"data": {**known["data"], "fingerprint": "0" * 20}}))
    verify(kept, "--number", "1", code=2)
    assert "must be the images that the study was run on, fingerprint 00000000000000000000" in capsys.readouterr().err
    known["study"]["trial"]["optimiser"]["momentum"] = 0.8
    path.write_text(json.dumps(known))
    verify(kept, "--number", "1", code=2)
    assert "must have the hash of what the study describes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"workers": 2}, "resources.workers: must be at most 1 for trials that are trained anew here"),
        ({"gpus_per_worker": 0.5}, "resources.gpus_per_worker: must be 0 where PyTorch sees no GPU, got 0.5"),
    ],
)
def test_what_this_process_cannot_train_is_refused(kept, capsys, monkeypatch, resources, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = kept / "provenance.json"
    known = json.loads(path.read_text())
    known["study"]["trial"]["resources"] = resources
    known["sessions"][-1]["numbers"] = "other code"  # or the hash of the description would be in the way
    path.write_text(json.dumps(known))
    verify(kept, "--number", "1", "--within", "1", code=2)
    assert message in capsys.readouterr().err


def test_images_that_have_moved_are_read_where_they_are():
    trial = trial_of(small_study(), Cell("dense", "confirm", 0, 0, 2, {}))
    assert moved(trial, None) is trial
    assert moved(trial, "elsewhere").data == trial.data.model_copy(update={"root": "elsewhere"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: --number"),
        (("--number", "-1"), "--number"),
        (("--number", "x"), "--number: must be a whole number of at most ten digits, 0 or more, got 'x'"),
        (("--number", "1", "--share", "0%"), "--share: must be above 0% and at most 100%, got '0%'"),
        (("--number", "1", "--share", "101%"), "--share: must be above 0% and at most 100%, got '101%'"),
        (("--number", "1", "--share", "0.05"), "--share: must be above 0% and at most 100%, got '0.05'"),
        (("--number", "1", "--within", "nan"), "--within: must be points above 0 and below 100, got 'nan'"),
        (("--number", "1", "--within", "-2"), "--within"),
        (("--number", "1", "--certificate", "/dev/null/x.json", "--share", "1%"), "--certificate /dev/null/x.json"),
        (("--number", "1", "--certificate", ""), "--certificate: must be a file, got ''"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_line(kept, capsys, words, message):
    verify(kept, *words, code=2)
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def shut(*_):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))  # rights do not hold for everybody


@pytest.mark.parametrize(("words", "name"), [((), "certificate-7.json"), (("--certificate", "mine"), "mine")])
def test_a_certificate_that_cannot_be_written_is_told_before_anything_trains(kept, capsys, monkeypatch, words, name):
    monkeypatch.chdir(kept)
    monkeypatch.setattr(Path, "touch", shut)
    verify(".", "--number", "7", *words, code=2)
    assert capsys.readouterr() == ("", f"dks-study: --certificate {name}: Read-only file system\n")


def test_the_verdict_is_printed_though_its_certificate_cannot_be_written(kept, capsys, monkeypatch):
    monkeypatch.setattr(verifying, "write_whole", shut)
    verify(kept, "--number", "7", "--share", "1%", code=2)
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "Agrees"
    assert err == f"dks-study: --certificate {kept}/certificate-7.json: Read-only file system\n"


@pytest.mark.parametrize("name", ["provenance.json", "table.md", "trials.parquet", "."])
def test_a_certificate_is_written_over_an_earlier_one_alone(kept, capsys, name):
    before = {path: path.read_bytes() for path in kept.iterdir()}
    verify(kept, "--number", "7", "--certificate", str(kept / name), code=2)
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("dks-study: --certificate")
    assert {path: path.read_bytes() for path in kept.iterdir()} == before


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    verify(tmp_path, "--number", "1", code=2)
    assert "not the results of a study: provenance.json is missing" in capsys.readouterr().err
