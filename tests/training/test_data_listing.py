"""What counts as data in a folder, and what is refused in one line rather than labelled by accident."""

import os
import re
import shutil

import numpy as np
import pytest
from odd_pictures import CLASSES, hidden_class, hidden_copy, loop, one_class, write_plain
from PIL import Image

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataError, load
from dks_study.training.data.checking import found_in
from dks_study.training.data.fingerprint import contents_of
from dks_study.training.data.listing import list_images
from dks_study.training.data.loading import read_and_split


@pytest.fixture(autouse=True)
def nothing_read():
    read_and_split.cache_clear()


def spec_of(root, **values):
    return DataSpec(**{"name": "image_folder", "root": str(root), "validation_fraction": 0.4} | values)


def look_at(spec):
    """As a study does when it begins."""
    contents_of(spec)
    load(spec)


def refused(root, **values):
    """Return why a folder is refused."""
    with pytest.raises(DataError) as caught:
        look_at(spec_of(root, **values))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    return message


PLAIN = [f"{part}/{name}/{i:03}.png" for part in ("train", "test") for name in CLASSES for i in range(8)]


@pytest.mark.parametrize("write", [write_plain, hidden_copy, hidden_class])
def test_hidden_files_and_folders_are_no_data(tmp_path, write):
    write(tmp_path)
    (tmp_path / "train/dog/Thumbs.db").touch()
    (tmp_path / "test/.DS_Store").touch()
    (tmp_path / "test/owl/@eaDir").mkdir()
    listing = list_images(spec_of(tmp_path))
    assert listing.files == PLAIN
    assert listing.pool.classes == listing.test.classes == CLASSES
    assert listing.pool.labels == [0] * 8 + [1] * 8 + [2] * 8
    assert len(load(spec_of(tmp_path)).test) == 24


def test_files_are_in_the_order_in_which_torchvision_has_them(tmp_path):
    from torchvision.datasets import ImageFolder

    write_plain(tmp_path)
    for odd in ("B.PNG", "a.JpEg", "é.png", "10.png", "9.png"):
        shutil.copy(tmp_path / "train/dog/000.png", tmp_path / "train/dog" / odd)
    listing, theirs = list_images(spec_of(tmp_path)), ImageFolder(str(tmp_path / "train")).samples
    assert list(zip(listing.paths(listing.pool), listing.pool.labels, strict=True)) == theirs


def test_a_link_inside_of_a_class_to_all_classes_is_refused(tmp_path):
    loop(tmp_path)
    rule = "must hold no folder inside of a class, got train/cat/again"
    assert refused(tmp_path) == f"data.root: {rule} (a link to {tmp_path}/train)"


def test_one_class_is_refused_in_folders(tmp_path):
    one_class(tmp_path)
    assert refused(tmp_path).startswith("data.root: must have two classes at least, got 'cat' alone in ")


def test_links_to_pictures_and_to_the_folder_of_a_class_are_followed_and_said(tmp_path):
    store, root = write_plain(tmp_path / "store"), tmp_path / "root"
    for part in ("train", "test"):
        (root / part / "cat").mkdir(parents=True)
        for picture in (store / part / "cat").iterdir():
            (root / part / "cat" / picture.name).symlink_to(picture)
        (root / part / "dog").symlink_to(store / part / "dog")
    (root / "train/cat/000.png").unlink()
    shutil.copy(store / "train/cat/000.png", root / "train/cat/000.png")
    contents = contents_of(spec_of(root))
    assert len(contents) == 32
    assert "17 files or classes are links." in str(found_in(spec_of(root), contents))


def add_files(root):
    """What is beside the pictures, and is not read."""
    (root / "train/cat/notes.txt").touch()
    (root / "train/cat/film.GIF").touch()
    (root / "test/cat/README").touch()
    shutil.copy(root / "train/cat/000.png", root / "train/stray.png")
    shutil.copytree(root / "test", root / "val")


def test_what_is_not_read_is_said(tmp_path):
    add_files(write_plain(tmp_path))
    found = found_in(spec_of(tmp_path), contents_of(spec_of(tmp_path)))
    assert found.aside == (
        "Not read: 1 files (beside the classes), 1 files (.gif), 1 files (.txt), 1 files (no ending).",
        "Not read: val, as validation is cut from train.",
    )


def nested(root):
    (root / "train/dog/more").mkdir()


def two_names_for_a_class(root):
    for part in ("train", "test"):
        (root / part / "hound").symlink_to(root / part / "dog")


def one_class_for_training_and_test(root):
    shutil.rmtree(root / "test/owl")
    (root / "test/owl").symlink_to(root / "train/owl")


def one_folder_for_training_and_test(root):
    shutil.rmtree(root / "test")
    (root / "test").symlink_to(root / "train")


def link_to_nothing(root):
    (root / "train/owl/more.png").symlink_to(root / "nowhere.png")


def link_to_itself(root):
    (root / "train/owl/more.png").symlink_to(root / "train/owl/more.png")


def class_that_is_a_link_to_nothing(root):
    for part in ("train", "test"):
        (root / part / "yak").symlink_to(root / "nowhere")


def pipe(root):
    os.mkfifo(root / "test/dog/pipe.png")


def device(root):
    (root / "train/owl/zero.png").symlink_to("/dev/zero")


def only_unreadable(root):
    for picture in (root / "train/dog").iterdir():
        picture.write_bytes(b"no picture")


def no_classes(root):
    shutil.rmtree(root / "train")
    shutil.copytree(root / "test/cat", root / "train")


def archive(root):
    shutil.rmtree(root / "train")
    (root / "train").write_bytes(b"PK")


def no_training_pictures(root):
    for picture in (root / "train/dog").iterdir():
        picture.rename(picture.with_suffix(".txt"))


def one_picture(root):
    for picture in sorted((root / "train/dog").iterdir())[1:]:
        picture.unlink()


def line_break(root):
    (root / "train/dog/a\nb.png").write_bytes(b"no picture")


def no_utf8(root):
    with open(os.fsencode(root / "train/dog") + b"/\xff.png", "wb") as file:
        file.write(b"no picture")


def all_black(root):
    for picture in root.rglob("*.png"):
        Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save(picture)


def other_size(root):
    Image.new("RGB", (16, 20), "red").resize((16, 20)).save(root / "test/owl/000.png")


WRONG = {
    nested: "must hold no folder inside of a class, got train/dog/more$",
    two_names_for_a_class: "must have a folder for each class, got train/dog and train/hound, which are one",
    one_class_for_training_and_test: "must have a folder for each class, got train/owl and test/owl, which are one",
    one_folder_for_training_and_test: "must have a folder for each class, got train/cat and test/cat, which are one",
    link_to_nothing: "must hold image files, got train/owl/more.png, which is a link to nothing",
    link_to_itself: "must hold image files, got train/owl/more.png, which is a link to nothing",
    class_that_is_a_link_to_nothing: "must hold images in train/CLASS, got train/yak, which is a link to nothing",
    pipe: "must hold image files, got test/dog/pipe.png, which is no file",
    device: "must hold image files, got train/owl/zero.png, which is no file",
    only_unreadable: "must hold images that can be read, got .*train/dog/000.png",
    no_classes: "must hold images in train/CLASS, got no folder of a class in train",
    archive: "must hold images in train/CLASS, got train: Not a directory",
    no_training_pictures: "must hold images in train/CLASS, got none in train/dog",
    one_picture: "must have two training images of a class at least, got one of dog in ",
    line_break: r"must hold images that can be read, got .*train/dog/a\\nb\.png",
    no_utf8: r"must hold images that can be read, got .*train/dog/\\udcff\.png",
    all_black: "must hold images that differ, got one value in all of channel 1 of 3",
}


@pytest.mark.parametrize("spoil", list(WRONG), ids=lambda spoil: spoil.__name__)
def test_wrong_folders_are_refused_in_one_line(tmp_path, spoil):
    spoil(write_plain(tmp_path))
    assert re.match(f"data.root: {WRONG[spoil]}", refused(tmp_path))


def test_pictures_of_several_sizes_want_one(tmp_path):
    other_size(write_plain(tmp_path))
    assert refused(tmp_path).startswith("data.image_pixels: must be given, as images differ in size: 16 x 16 and 16 x")
    load(spec_of(tmp_path, image_pixels=16))


def test_files_that_the_system_does_not_give_out_are_named(tmp_path):
    write_plain(tmp_path)
    picture = tmp_path / "train/cat/000.png"
    picture.unlink()
    picture.symlink_to("/proc/self/mem")  # a file that can be opened and not be read
    assert refused(tmp_path) == f"data.root: must hold images that may be read, got {picture} (Input/output error)"


@pytest.mark.parametrize("in_memory", [True, False])
def test_all_that_cannot_be_used_is_counted_before_anything_trains(tmp_path, in_memory):
    write_plain(tmp_path)
    for i in range(3):
        (tmp_path / f"train/dog/00{i}.png").write_bytes(b"no picture")
    message = refused(tmp_path, **({} if in_memory else {"in_memory": False, "image_pixels": 16}))
    assert message.startswith(f"data.root: must hold images that can be read, got {tmp_path}/train/dog/000.png")
    assert message.endswith(", and 2 more are of no use") != in_memory, "in memory the first one ends the decoding"
