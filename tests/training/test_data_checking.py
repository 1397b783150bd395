"""Pictures that are there twice, classes that are nearly empty, and what a study says of its data in a line."""

import shutil

import numpy as np
import pytest
from odd_pictures import CLASSES, leak, turned, write_plain
from PIL import Image

from dks_study.spec.data import DataSpec
from dks_study.training.data.checking import Copies, copies_among, found_in
from dks_study.training.data.examining import examine
from dks_study.training.data.fingerprint import contents_of
from dks_study.training.data.loading import read_and_split

ON_THE_FLY = {"in_memory": False, "image_pixels": 16}


@pytest.fixture(autouse=True)
def nothing_read():
    read_and_split.cache_clear()


def spec_of(root, **values):
    return DataSpec(**{"name": "image_folder", "root": str(root), "validation_fraction": 0.4} | values)


def look_at(root, **values):
    spec = spec_of(root, **values)
    return found_in(spec, contents_of(spec))


def test_copies_are_found_within_and_across_splits():
    hashes = np.array([b"a", b"b", b"a", b"c", b"a", b"c", b"d", b"a", b"d", b"e"])
    splits = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    labels = np.array([0, 1, 0, 1, 0, 2, 1, 0, 1, 1])
    names = [str(number) for number in range(10)]
    assert copies_among(hashes, splits, labels, names) == Copies(
        within={"train": 1, "validation": 0, "test": 0},
        seen={"validation": 2, "test": 2},
        contradicted=1,
        groups=(("0", "2", "4", "7"), ("3", "5"), ("6", "8")),
    )


@pytest.mark.parametrize("values", [{}, ON_THE_FLY], ids=["in memory", "on the fly"])
def test_a_leak_is_named(tmp_path, values):
    leak(tmp_path)
    found = look_at(tmp_path, **values)
    assert found.copies.seen["test"] == 1
    assert ("train/cat/003.png", "test/cat/zzz.png") in found.copies.groups
    assert ("train/dog/003.png", "train/dog/zzz.png") in [tuple(sorted(group)) for group in found.copies.groups]
    text = str(found)
    assert "test images that are in train or validation, too: 1" in text
    assert "train/cat/003.png = test/cat/zzz.png" in text
    assert len(text.splitlines()) == 1


def test_a_picture_that_training_and_validation_both_see_is_counted(tmp_path):
    """All of a class are copies of one picture: whatever is cut off, validation sees what was trained on."""
    write_plain(tmp_path)
    for i in range(1, 8):
        shutil.copy(tmp_path / "train/owl/000.png", tmp_path / f"train/owl/00{i}.png")
    copies = look_at(tmp_path).copies
    assert copies.seen == {"validation": 3, "test": 0}
    assert copies.within == {"train": 4, "validation": 2, "test": 0}


def test_one_picture_with_two_labels_is_told(tmp_path):
    write_plain(tmp_path)
    shutil.copy(tmp_path / "train/owl/000.png", tmp_path / "train/dog/009.png")
    assert str(look_at(tmp_path).copies).endswith("1 of these pictures have several labels.")


def test_pixels_decide_in_memory_and_when_checked_in_full(tmp_path):
    """The same picture in another file format, and one that only its EXIF turns into a copy."""
    turned(tmp_path)
    with Image.open(tmp_path / "train/owl/000.png") as picture:
        picture.save(tmp_path / "test/owl/other.bmp")
    upright = np.rot90(np.asarray(Image.open(tmp_path / "train/cat/000.png")), -1)
    Image.fromarray(np.ascontiguousarray(upright)).save(tmp_path / "test/cat/upright.png")
    assert look_at(tmp_path).copies.seen["test"] == 2
    assert look_at(tmp_path, **ON_THE_FLY).copies.seen["test"] == 0, "files are compared byte for byte"
    for values in ({}, ON_THE_FLY):
        assert examine(spec_of(tmp_path, **values), lambda *_: None).found.copies.seen["test"] == 2


def test_images_are_counted_by_split_and_class(tmp_path):
    write_plain(tmp_path, images=20)
    found = look_at(tmp_path)
    assert found.images == {"train": [12] * 3, "validation": [8] * 3, "test": [20] * 3}
    assert found.class_names == CLASSES
    assert found.near_empty == ()
    assert str(found) == "36 train, 24 validation, 60 test images of 3 classes. No exact copies."


def test_training_images_are_counted_before_any_are_left_out(tmp_path):
    write_plain(tmp_path)
    assert look_at(tmp_path, train_images=6).images == look_at(tmp_path).images


def test_nearly_empty_classes_are_named(tmp_path):
    write_plain(tmp_path, images=20)
    for part, kept in (("train", 10), ("test", 2)):
        for i in range(kept, 20):
            (tmp_path / part / "dog" / f"{i:03}.png").unlink()
    found = look_at(tmp_path)
    assert found.near_empty == ("dog (6 in train)", "dog (2 in test)")
    assert "Classes of fewer than 10 images: dog (6 in train), dog (2 in test)." in str(found)


def test_a_set_without_files_names_its_images_by_number():
    spec = DataSpec(name="digits")
    found = found_in(spec, contents_of(spec))
    assert sum(map(sum, found.images.values())) == 1797
    assert found.class_names[3] == "class 3"
    assert found.copies.groups == ()
