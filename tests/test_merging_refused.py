"""What must not be mixed in a merged study is refused by name; what is only worth a word is noted."""

import re
from dataclasses import replace

import pytest
from halves import changed, copies, in_ledger, made_apart, make, merge, refused, with_metric
from whole_studies import records, same_tables


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_apart(tmp_path_factory.mktemp("made"))


@pytest.fixture
def sides(made, tmp_path):
    return copies(made[:2], tmp_path)


def test_another_description_is_refused_by_its_key(made, tmp_path, capsys):
    other = make(tmp_path / "other", 3, 4, searches=3)
    assert "merge: the description must be the same in all studies: search.trials 4 in donor-" in refused(
        capsys, made[0], other, into=tmp_path / "results"
    )


def test_studies_that_look_early_are_not_merged_by_seeds(made, tmp_path, capsys):
    other = make(tmp_path / "other", 3, 4)
    for folder in (sides := copies((made[0], other), tmp_path / "sides")):
        changed(folder / "provenance.json", lambda content: content["study"]["table"].update(looks={"first": 2}))
    changed(sides[1] / "provenance.json", lambda content: content["study"].update(report_seeds=[3, 4, 5]))
    err = refused(capsys, *sides, into=tmp_path / "results")
    assert "the description must be the same in all studies: report_seeds [0, 1, 2] in" in err


def test_other_data_or_code_is_refused(sides, tmp_path, capsys):
    kept = sides[1] / "provenance.json"
    before = kept.read_text()
    changed(kept, lambda content: content.update(data={"fingerprint": "other"}))
    assert "the data must be the same in all studies: fingerprint None in" in refused(
        capsys, *sides, into=tmp_path / "r"
    )
    kept.write_text(before)
    changed(kept, lambda content: content["sessions"][-1].update(numbers="other"))
    assert "the code must be the same in all studies: numbers " in refused(capsys, *sides, into=tmp_path / "r")


@pytest.mark.parametrize("key", ["torch", "python", "device", "code of dks_study"])
def test_other_versions_devices_and_code_of_trials_are_refused(sides, tmp_path, capsys, key):
    for path in sides[1].glob("trials/*/origin.json"):
        changed(path, lambda content: content["origin"].update({key: "other"}))
    err = refused(capsys, *sides, into=tmp_path / "results")
    assert f"what makes numbers must be the same in all studies: arm0: {key} " in err
    assert f"'other' in {sides[1].name}" in err


def test_another_processor_is_noted(sides, made, tmp_path, capsys):
    for path in sides[1].glob("trials/*/origin.json"):
        changed(path, lambda content: content["origin"].update(processor="abacus"))
    folder = merge(*sides, into=tmp_path / "results")
    assert same_tables(folder, made[2])
    note = "Note: the processors are not the same, which can change numbers: "
    assert re.search(rf"{note}.* in {sides[0].name}; abacus in {sides[1].name}\.", capsys.readouterr().out)


def test_another_choice_of_a_search_is_refused_with_both_settings(sides, tmp_path, capsys):
    chosen = next(r.cell.setting for r in records(sides[1]) if r.cell.phase == "confirm" and "tuned" in r.cell.rows)
    other = {**chosen, "optimiser.lr": 0.123}
    for trial in [r.cell.id for r in records(sides[1]) if r.cell.arm == "arm1" and r.cell.phase == "confirm"]:
        in_ledger(sides[1], trial, lambda r: replace(r, cell=replace(r.cell, setting=other)))
    err = refused(capsys, *sides, into=tmp_path / "results")
    assert "merge: what a search chose must be the same in all studies: arm arm1 {" in err
    assert "'optimiser.lr': 0.123" in err


def test_a_trial_of_both_with_other_numbers_is_refused_by_name(sides, tmp_path, capsys):
    in_ledger(sides[1], "arm1-search-2", with_metric("val/top1/main", 12.5))
    err = refused(capsys, *sides, into=tmp_path / "results")
    assert "merge: trials of both must be alike: arm1-search-2: val/top1/main " in err
    assert f"-> 12.5 ({sides[0].name} -> {sides[1].name})" in err


def test_other_times_are_no_other_numbers(sides, made, tmp_path):
    in_ledger(sides[1], "arm1-search-2", with_metric("time/train_s", 12.5))
    assert same_tables(merge(*sides, into=tmp_path / "results"), made[2])
