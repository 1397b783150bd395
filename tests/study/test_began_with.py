"""A study goes on with the data that it began with, and with no others."""

import json
import shutil

import pytest
from odd_pictures import write_plain
from studies import small_study

from dks_study.study.began_with import CONTENTS, keep_contents, look_at_data
from dks_study.study.provenance import new_session, read_provenance, write_provenance
from dks_study.training.arm_checks import StudyError
from dks_study.training.data import load
from dks_study.training.data.loading import read_and_split


@pytest.fixture
def study(tmp_path):
    root = write_plain(tmp_path / "data")
    yield small_study(data={"name": "image_folder", "root": str(root), "validation_fraction": 0.4})
    read_and_split.cache_clear()


@pytest.fixture
def results(tmp_path, study):
    """The folder of a study that has begun."""
    folder = tmp_path / "results"
    folder.mkdir()
    begin(study, folder)
    return folder


def begin(study, folder):
    data = look_at_data(study, folder, print)
    keep_contents(folder, data.contents)
    write_provenance(folder, study, [], new_session(0), data.record)
    return data


def refused(study, folder):
    with pytest.raises(StudyError) as caught:
        look_at_data(study, folder, print)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_the_record_is_small_and_says_what_was_found(study, results):
    record = read_provenance(results)["data"]
    assert record["entries"] == 48
    assert len(record["fingerprint"]) == 20
    assert record["found"].startswith("14 train, 10 validation, 24 test images of 3 classes.")
    assert begin(study, results).record == record


def test_in_one_process_they_are_read_anew(tmp_path, study):
    before = load(study.trial.data)
    assert load(study.trial.data) is before
    (added,) = (tmp_path / "data" / "test" / "owl").glob("000.*")
    shutil.copyfile(added, added.with_stem("more"))
    look_at_data(study, tmp_path, print)
    assert len(load(study.trial.data).test) == len(before.test) + 1


def test_other_data_are_refused_until_they_are_put_back(tmp_path, study, results):
    for part in ("train", "test"):
        (tmp_path / "data" / part / "owl").rename(tmp_path / "data" / part / "eule")
    assert refused(study, results) == (
        f"{results}: the data of a study must not change, as its table would mix both: vanished: all 8 of test/owl,"
        " all 8 of train/owl; appeared: all 8 of test/eule, all 8 of train/eule;"
        " put them back, or give another --results"
    )
    for part in ("train", "test"):
        (tmp_path / "data" / part / "eule").rename(tmp_path / "data" / part / "owl")
    look_at_data(study, results, print)


@pytest.mark.parametrize("content", [None, b"", b"\x1f\x8b", b"no gzip"])
def test_without_the_list_of_files_the_fingerprint_still_decides(tmp_path, study, results, content):
    (results / CONTENTS).unlink() if content is None else (results / CONTENTS).write_bytes(content)
    look_at_data(study, results, print)
    (tmp_path / "data/train/cat/000.png").unlink()
    assert "48 entries then, 47 now" in refused(study, results)


def test_a_study_from_before_there_were_fingerprints_goes_on(tmp_path, study, results):
    write_provenance(results, study, [], new_session(0))
    assert "data" not in json.loads((results / "provenance.json").read_text())
    (tmp_path / "data/train/cat/000.png").unlink()
    read_and_split.cache_clear()
    assert begin(study, results).fingerprint.entries == 47
    assert read_provenance(results)["data"]["entries"] == 47
