"""What is on record of a study's sessions, and other results of the same question."""

import json
from dataclasses import asdict

import pytest
from studies import small_study

from dks_study.study.provenance import (
    PROVENANCE,
    ProvenanceError,
    changed,
    code_hash,
    new_session,
    other_results,
    read_provenance,
    read_sessions,
    write_provenance,
)

STUDY = small_study()


def test_changed_packages_and_processors_are_named():
    session = new_session(gpus=0)
    before = asdict(session)
    assert changed([], session) == ""
    assert changed([before], session) == ""
    before["packages"] = before["packages"] | {"torch": "1.0"}
    before["hardware"] = before["hardware"] | {"cpu": "abacus"}
    torch, cpu = session.packages["torch"], session.hardware["cpu"]
    assert changed([before], session) == f"torch (1.0 -> {torch}), processor (abacus -> {cpu})"


def test_the_code_has_a_hash_that_does_not_change_while_it_runs():
    assert code_hash() == code_hash()
    assert len(code_hash()) == 10


def test_sessions_are_read_again_and_a_damaged_record_is_refused(tmp_path):
    assert read_sessions(tmp_path) == []
    session = new_session(gpus=0)
    write_provenance(tmp_path, STUDY, [], session)
    assert read_sessions(tmp_path) == [asdict(session)]
    assert read_provenance(tmp_path)["recipe_auto"] == {"paper at stage1, stage2": ["ds", "dense"]}
    whole = (tmp_path / PROVENANCE).read_text()
    for damaged in (whole[: len(whole) // 2], "", "[]", "{}", "null"):
        (tmp_path / PROVENANCE).write_text(damaged)
        with pytest.raises(ProvenanceError, match=r"provenance\.json: is damaged: put a copy back"):
            read_sessions(tmp_path)


def results_of(study, root):
    folder = root / f"{study.name}-{study.content_hash()}"
    folder.mkdir()
    write_provenance(folder, study, [], new_session(gpus=0))
    return folder


def test_the_nearest_other_results_are_named_with_what_differs(tmp_path):
    assert other_results(STUDY, tmp_path / "small-0") is None
    results_of(small_study(epochs=9, report_seeds=(7, 8, 9), arms=("ds", "dense")), tmp_path)
    near = results_of(small_study(epochs=3), tmp_path)
    (tmp_path / "small-broken").mkdir()
    (tmp_path / "small-broken" / PROVENANCE).write_text("{")
    said = "has results of this question by another description: trial.epochs 3 there, 2 here."
    assert other_results(STUDY, tmp_path / "small-0") == f"Note: {near} {said}"


def test_no_more_than_three_differences_are_shown(tmp_path):
    folder = results_of(small_study(epochs=9, report_seeds=(7, 8, 9), trials=3, parallel=2), tmp_path)
    note = other_results(STUDY, tmp_path / "small-0")
    assert note.startswith(f"Note: {folder} ")
    assert note.count(" there, ") == 3
    assert note.endswith("; 1 more.")


def test_its_own_results_are_no_others_and_limits_on_failures_no_difference(tmp_path):
    folder = results_of(STUDY, tmp_path)
    patient = STUDY.model_copy(update={"max_failures": 7, "keep": "none"})
    assert patient.content_hash() == STUDY.content_hash()
    assert other_results(patient, folder) is None
    record = json.loads((folder / PROVENANCE).read_text())
    assert record["study_hash"] == patient.content_hash()
