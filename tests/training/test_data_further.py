"""Further test sets: where they come from, what they may not be, and that they change no other number."""

import shutil
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from odd_pictures import CLASSES, write_plain
from PIL import Image
from studies import small_study

from dks_study.spec.data import DataSpec
from dks_study.spec.study import arm_trial
from dks_study.study.identity import identity
from dks_study.training.data import DataError, load
from dks_study.training.data.checking import found_in
from dks_study.training.data.examining import examine
from dks_study.training.data.fingerprint import contents_of, differences, fingerprint
from dks_study.training.data.loading import read_and_split
from dks_study.training.team import Team
from dks_study.training.trainer import fit

ON_THE_FLY = {"in_memory": False, "image_pixels": 16}
DIGITS = {"test_images": np.full((4, 1, 8, 8), 7, np.uint8), "test_labels": np.array([0, 3, 9, 9])}


@pytest.fixture(autouse=True)
def nothing_read():
    read_and_split.cache_clear()
    yield
    read_and_split.cache_clear()


@pytest.fixture
def folders(tmp_path):
    """A folder of images, and beside it a copy of its test part."""
    root = tmp_path / "data"
    write_plain(root)
    shutil.copytree(root / "test", tmp_path / "again")
    return root, tmp_path / "again"


@pytest.fixture
def returning(monkeypatch):
    """Make `own_tests:shifted` return something."""
    module = ModuleType("own_tests")
    monkeypatch.setitem(sys.modules, "own_tests", module)

    def returns(content):
        module.shifted = lambda: content
        read_and_split.cache_clear()
        return DataSpec(name="digits", tests={"shifted": "own_tests:shifted"})

    return returns


def spec_of(root, tests, **values):
    return DataSpec(name="image_folder", root=str(root), validation_fraction=0.4, tests=tests, **values)


def images_of(split):
    if hasattr(split, "images"):
        return split.images
    return torch.cat(list(split.decode([torch.arange(len(split))])))


@pytest.mark.parametrize("values", [{}, ON_THE_FLY, {"image_pixels": 12}], ids=["in memory", "on the fly", "resized"])
def test_a_folder_is_decoded_as_the_first_test_set_is(folders, values):
    root, again = folders
    data = load(spec_of(root, {"again": str(again)}, **values))
    assert torch.equal(images_of(data.tests["again"]), images_of(data.test))
    assert data.tests["again"].labels.tolist() == data.test.labels.tolist()


def test_a_set_without_names_of_classes_takes_a_folder_for_each_class_in_order(tmp_path):
    for label in range(10):
        (tmp_path / "grey" / f"{label}").mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 20 * label, np.uint8)).save(tmp_path / "grey" / f"{label}" / "one.png")
    data = load(DataSpec(name="digits", tests={"grey": str(tmp_path / "grey")}))
    assert data.tests["grey"].image_shape == (1, 8, 8)
    assert data.tests["grey"].labels.tolist() == list(range(10))
    assert data.tests["grey"].images.amax((1, 2, 3)).tolist() == [20 * label for label in range(10)]
    (tmp_path / "grey" / "ten").mkdir()
    shutil.copy(tmp_path / "grey" / "1" / "one.png", tmp_path / "grey" / "ten")
    with pytest.raises(
        DataError, match=r"^data\.tests\.grey: must hold a folder for each of the 10 classes, .* got 11$"
    ):
        load(DataSpec(name="digits", tests={"grey": str(tmp_path / "grey")}, split_seed=1))


def test_a_function_gives_arrays(returning):
    spec = returning(DIGITS)
    shifted = load(spec).tests["shifted"]
    assert torch.equal(shifted.images, torch.full((4, 1, 8, 8), 7, dtype=torch.uint8))
    assert shifted.labels.tolist() == [0, 3, 9, 9]
    before = contents_of(spec)
    assert set(before) - set(contents_of(DataSpec(name="digits"))) == {"test_shifted images", "test_shifted labels"}
    other = contents_of(returning(DIGITS | {"test_labels": np.array([0, 3, 9, 8])}))
    assert differences(before, other) == "changed: test_shifted labels"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_images": np.zeros((4, 1, 9, 8), np.uint8)}, r"must hold images of \(1, 8, 8\) .*, got \(1, 9, 8\)"),
        ({"test_images": np.zeros((4, 3, 8, 8), np.uint8)}, r"must hold images of \(1, 8, 8\) .*, got \(3, 8, 8\)"),
        ({"test_labels": np.array([0, 1, 2, 10])}, "must have labels below 10, as in training, got 10"),
        ({"test_labels": np.array([0, 1])}, "own_tests:shifted: test_labels must be 4 integers from 0, one for each"),
        ({"test_images": None}, "own_tests:shifted: test_images must be uint8"),
    ],
)
def test_other_arrays_are_refused_in_one_line(returning, change, message):
    with pytest.raises(DataError, match=rf"^data\.tests\.shifted: {message}") as caught:
        load(returning(DIGITS | change))
    assert "\n" not in str(caught.value)


def test_what_is_no_mapping_or_not_there_is_refused(returning):
    with pytest.raises(DataError, match=r"^data\.tests\.shifted: own_tests:shifted must return a mapping, got int$"):
        load(returning(3))
    with pytest.raises(DataError, match=r"^data\.tests\.x: own_tests:nowhere cannot be called \(AttributeError: "):
        load(DataSpec(name="digits", tests={"x": "own_tests:nowhere"}))
    with pytest.raises(DataError, match=r"^data\.tests\.x: must be a folder with images .*, got 'nowhere'$"):
        load(DataSpec(name="digits", tests={"x": "nowhere"}))


def test_a_folder_of_other_classes_or_sizes_is_refused(folders):
    root, again = folders
    shutil.move(again / CLASSES[0], again / "other")
    message = rf"^data\.tests\.again: must have the classes of the training images, got '{CLASSES[0]}' in one$"
    with pytest.raises(DataError, match=message):
        load(spec_of(root, {"again": str(again)}))
    shutil.move(again / "other", again / CLASSES[0])
    Image.new("RGB", (5, 4)).save(again / CLASSES[1] / "small.png")
    with pytest.raises(
        DataError, match=r"^data\.tests\.again: must hold images of \d+ x \d+, .*, got 5 x 4 \(.*small\.png\)"
    ):
        load(spec_of(root, {"again": str(again)}, split_seed=1))
    (again / CLASSES[1] / "deeper").mkdir()
    with pytest.raises(DataError, match=r"^data\.tests\.again: must hold no folder inside of a class, got again/"):
        load(spec_of(root, {"again": str(again)}, split_seed=2))


@pytest.mark.parametrize("values", [{}, ON_THE_FLY], ids=["in memory", "on the fly"])
def test_a_file_that_cannot_be_read_is_told_of_its_own_key(folders, values):
    root, again = folders
    bad = sorted((again / CLASSES[0]).iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:50])
    look = contents_of if values else load  # on the fly nothing is decoded before it is looked at
    with pytest.raises(DataError, match=rf"^data\.tests\.again: must hold images that can be read, got {bad}$"):
        look(spec_of(root, {"again": str(again)}, **values))


@pytest.mark.parametrize("values", [{}, ON_THE_FLY], ids=["in memory", "on the fly"])
def test_files_are_in_the_fingerprint_and_looked_through_for_copies(folders, values):
    root, again = folders
    plain, spec = spec_of(root, {}, **values), spec_of(root, {"again": str(again)}, **values)
    before = contents_of(spec)
    assert before.items() > contents_of(plain).items()
    assert fingerprint(before) != fingerprint(contents_of(plain))
    taken = sorted((root / "train" / CLASSES[0]).iterdir())[0]
    shutil.copy(taken, again / CLASSES[0] / "taken.png")
    assert differences(before, contents_of(spec)) == f"appeared: 1 of test_again/{CLASSES[0]} (taken.png)"
    read_and_split.cache_clear()
    found = found_in(spec, contents_of(spec))
    assert found.copies.seen == {"validation": 0, "test": 0, "test_again": 1}
    assert "test_again images that are in train or validation, too: 1" in str(found)
    assert sum(found.images["test_again"]) == len(list(again.rglob("*.png")))
    examined = examine(spec, lambda done, of: None).found
    assert (examined.copies.seen, examined.images) == (found.copies.seen, found.images)


def trial_of(**data):
    study = small_study(trials=0, data={"name": "digits", "label_noise": 0.4, **data})
    return arm_trial(study, "dense", {}, epochs=1, phase="confirm", seed=1)


def last(trial):
    (report,) = fit(trial, load(trial.data), Team.here(torch.device("cpu")))
    return {key: value for key, value in report.metrics.items() if not key.endswith("_s")}


def test_they_are_new_columns_and_no_other_number_changes(returning):
    held = load(DataSpec(name="digits")).test
    returning({"test_images": held.images.numpy(), "test_labels": held.labels.numpy()})
    plain, further = last(trial_of()), last(trial_of(tests={"shifted": "own_tests:shifted"}))
    new = {key: value for key, value in further.items() if key.startswith("test_shifted/")}
    assert {key: value for key, value in further.items() if key not in new} == plain
    tested = {key: value for key, value in plain.items() if key.startswith("test/")}
    assert new == {key.replace("test/", "test_shifted/"): value for key, value in tested.items()}


def test_a_trial_that_was_not_tested_on_them_is_another_one():
    plain, further = trial_of(), trial_of(tests={"shifted": "own_tests:shifted"})
    assert "tests" not in plain.hashed()["data"]
    assert identity(plain, "data", {}) != identity(further, "data", {})
