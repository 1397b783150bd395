"""Fingerprints of data sets: content decides, and files that are known are not read again."""

import json
import os
import shutil
import sys
import threading
from dataclasses import FrozenInstanceError
from types import ModuleType

import numpy as np
import pytest
from odd_pictures import cut_in_half, write_plain
from test_data_files import write_fashion

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataError
from dks_study.training.data import fingerprint as fingerprints
from dks_study.training.data.fingerprint import contents_of, differences, fingerprint
from dks_study.training.data.loading import read_and_split


@pytest.fixture(autouse=True)
def nothing_known(tmp_path, monkeypatch):
    """No hash is remembered of before, and files are settled as soon as they are written."""
    read_and_split.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "SETTLED_S", -60)


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that are read."""
    names, lock, look = [], threading.Lock(), fingerprints._look

    def noted(path, opened):
        with lock:
            names.append(os.path.basename(path))
        return look(path, opened)

    monkeypatch.setattr(fingerprints, "_look", noted)
    return names


def spec_of(root, **values):
    return DataSpec(**{"name": "image_folder", "root": str(root), "validation_fraction": 0.4} | values)


@pytest.fixture
def root(tmp_path):
    return write_plain(tmp_path / "data")


def test_a_fingerprint_is_a_small_value(root):
    mine = fingerprint(contents_of(spec_of(root)))
    assert (len(mine.digest), mine.entries) == (20, 48)
    assert mine == fingerprint(dict(reversed(contents_of(spec_of(root)).items())))
    with pytest.raises(FrozenInstanceError):
        mine.digest = ""


def test_a_copy_elsewhere_or_with_other_times_is_the_same(root, tmp_path):
    before = contents_of(spec_of(root))
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    (tmp_path / "link").symlink_to(root)
    os.utime(root / "train/cat/000.png", (1, 1))
    (root / "train/cat/.hidden.png").write_bytes(b"")
    for place in (root, tmp_path / "copy", tmp_path / "link"):
        assert contents_of(spec_of(place)) == before


def test_what_is_known_is_not_read_again(root, reads):
    contents_of(spec_of(root))
    assert len(reads) == 48
    contents_of(spec_of(root))
    assert len(reads) == 48
    os.utime(root / "train/owl/005.png", (1, 1))
    contents_of(spec_of(root))
    assert reads[48:] == ["005.png"]


def test_files_that_have_just_changed_are_read_again(root, reads, monkeypatch):
    monkeypatch.setattr(fingerprints, "SETTLED_S", 60)
    contents_of(spec_of(root))
    contents_of(spec_of(root))
    assert len(reads) == 96


def test_the_same_size_and_times_do_not_hide_a_change(root):
    """As `cp -p` and `touch -r` leave it: the inode's own time tells."""
    path = root / "train/cat/000.png"
    before, stat, content = contents_of(spec_of(root)), path.stat(), bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert differences(before, contents_of(spec_of(root))) == "changed: 1 of train/cat (000.png)"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"train/cat/000.png": [1]}', b'{"train/cat/000.png": 1}'])
def test_a_damaged_memory_is_none(root, tmp_path, content):
    before = contents_of(spec_of(root))
    (memory,) = (tmp_path / "cache/dks_study").glob("*.json")
    assert len(json.loads(memory.read_text())) == 48
    memory.write_bytes(content)
    assert contents_of(spec_of(root)) == before


def test_where_nothing_can_be_remembered_the_files_are_read(root, tmp_path, monkeypatch, reads):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert contents_of(spec_of(root)) == contents_of(spec_of(root))
    assert len(reads) == 96


def test_files_that_were_hashed_alone_are_opened_before_they_are_decoded_on_the_fly(root):
    cut_in_half(root / "train/cat/001.png")
    on_the_fly = spec_of(root, in_memory=False, image_pixels=16)
    contents_of(spec_of(root))
    for _ in range(2):
        with pytest.raises(DataError, match=r"must hold images that can be read, got .*001\.png"):
            contents_of(on_the_fly)


def test_long_reading_is_told(root, monkeypatch):
    monkeypatch.setattr(fingerprints, "TOLD_EVERY_S", 0)
    notes = []
    contents_of(spec_of(root), notes.append)
    assert notes[-1] == f"Read 48 of 48 new or changed images in {root}"


def test_what_differs_is_named_by_class(root):
    before = contents_of(spec_of(root))
    for part in ("train", "test"):
        (root / part / "cat").rename(root / part / "kat")
    for i in range(4):
        (root / f"test/dog/00{i}.png").unlink()
    shutil.copy(root / "train/owl/000.png", root / "train/owl/001.png")
    assert differences(before, contents_of(spec_of(root))) == (
        "vanished: all 8 of test/cat, 4 of test/dog (000.png, 001.png, 002.png, ...), all 8 of train/cat;"
        " appeared: all 8 of test/kat, all 8 of train/kat; changed: 1 of train/owl (001.png)"
    )
    assert differences(before, before) == ""


def test_many_classes_that_differ_are_counted(root):
    before = contents_of(spec_of(root))
    (root / "test/cat").rename(root / "test/swap")
    (root / "test/dog").rename(root / "test/cat")
    (root / "test/swap").rename(root / "test/dog")
    shutil.move(root / "train/cat/000.png", root / "train/cat/a.png")
    assert differences(before, contents_of(spec_of(root))) == (
        "vanished: 1 of train/cat (000.png); appeared: 1 of train/cat (a.png);"
        " changed: all 8 of test/cat, all 8 of test/dog"
    )
    for path in root.rglob("*.png"):
        path.rename(path.with_name("b" + path.name))
    assert "and 3 more" in differences(before, contents_of(spec_of(root)))


ARRAYS = {
    "train_images": np.random.default_rng(0).integers(0, 256, (30, 4, 4, 1), dtype=np.uint8),
    "train_labels": np.arange(30) % 3,
    "test_images": np.random.default_rng(1).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8),
    "test_labels": np.arange(6) % 3,
}


def test_arrays_of_a_function_have_a_fingerprint(monkeypatch):
    module = ModuleType("own_data")
    monkeypatch.setitem(sys.modules, "own_data", module)
    spec = DataSpec(name="own_data:images", validation_fraction=0.4)

    def contents(**changes):
        read_and_split.cache_clear()
        module.images = lambda: ARRAYS | changes
        return contents_of(spec)

    before = contents()
    assert contents() == before
    labels, images = ARRAYS["train_labels"].copy(), ARRAYS["test_images"].copy()
    labels[:2], images[5, 3, 3] = labels[1::-1], images[5, 3, 3] + 1
    assert differences(before, contents(train_labels=labels, test_images=images)) == (
        "changed: test images, train labels"
    )
    order = np.arange(30)[::-1]
    moved = contents(train_images=ARRAYS["train_images"][order], train_labels=ARRAYS["train_labels"][order])
    assert differences(before, moved) == "changed: train images, train labels"
    assert fingerprint(contents(classes=4)) != fingerprint(before)


def test_files_of_a_torchvision_set_and_digits_have_a_fingerprint(tmp_path):
    raw = write_fashion(tmp_path)
    spec = DataSpec(name="fashion_mnist", root=str(tmp_path), validation_fraction=0.5)
    before = contents_of(spec)
    path = raw / "t10k-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] = (content[-1] + 1) % 10
    path.write_bytes(content)
    read_and_split.cache_clear()
    assert differences(before, contents_of(spec)) == "changed: test labels"
    digits = contents_of(DataSpec(name="digits"))
    assert contents_of(DataSpec(name="digits", label_noise=0.4)) == digits
    assert fingerprint(digits).entries == 4
