"""Data sets are read from files in torchvision's real format, and what is missing or damaged names the key."""

import pickle
import struct
from http.client import IncompleteRead
from urllib.error import URLError

import numpy as np
import pytest
import torch
from scipy.io import savemat

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataError, load
from dks_study.training.data.loading import read_and_split

FILES = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "fashion_mnist": "FashionMNIST/raw"}
FLAT = {"svhn": ".", "stl10": "stl10_binary"}


def write_cifar(root, name):
    """Write a tiny CIFAR in the real format; return (pixels uint8 [N, 3072], labels), of training and of test."""
    random, fine = np.random.default_rng(0), name == "cifar100"
    folder = root / FILES[name]
    folder.mkdir(parents=True)
    classes, key = (100, "fine_labels") if fine else (10, "labels")
    files = {"train": 400, "test": 200} if fine else {**{f"data_batch_{i}": 40 for i in range(1, 6)}, "test_batch": 50}
    pixels, labels = {True: [], False: []}, {True: [], False: []}
    for file, count in files.items():
        content = {
            "data": random.integers(0, 256, (count, 3072), dtype=np.uint8),
            key: [i % classes for i in range(count)],
        }
        if fine:
            content["coarse_labels"] = [i % classes % 20 for i in range(count)]
        (folder / file).write_bytes(pickle.dumps(content))
        pixels[file.startswith("test")].append(content["data"])
        labels[file.startswith("test")] += content[key]
    names = {"fine_label_names" if fine else "label_names": [f"class{i}" for i in range(classes)]}
    (folder / ("meta" if fine else "batches.meta")).write_bytes(pickle.dumps(names))
    return [(np.concatenate(pixels[test]), labels[test]) for test in (False, True)]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_files_are_read_as_torchvision_stores_them(tmp_path, monkeypatch, name):
    (pixels, labels), (test_pixels, test_labels) = write_cifar(tmp_path, name)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)  # the sums are of the real files
    data = load(DataSpec(name=name, root=str(tmp_path), validation_fraction=0.5))
    assert data.test.images.numpy().tobytes() == test_pixels.tobytes(), "rows are red, green, blue planes of 32 x 32"
    assert data.test.labels.tolist() == test_labels
    assert data.image_shape == (3, 32, 32)
    assert len(data.mean) == len(data.std) == 3
    assert data.classes == (100 if name == "cifar100" else 10)
    assert len(data.train) == len(data.validation) == len(pixels) // 2
    of_image = {row.tobytes(): label for row, label in zip(pixels, labels, strict=True)}
    for split in (data.train, data.validation):
        assert [of_image.pop(image.numpy().tobytes()) for image in split.images] == split.labels.tolist()
        assert torch.bincount(split.labels, minlength=data.classes).unique().numel() == 1, "stratified"
    assert of_image == {}


def write_fashion(root):
    raw = root / FILES["fashion_mnist"]
    raw.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 20)):
        pixels = (np.arange(count * 784) % 256).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    return raw


def test_fashion_mnist_is_read_from_idx_files(tmp_path):
    write_fashion(tmp_path)
    data = load(DataSpec(name="fashion_mnist", root=str(tmp_path), validation_fraction=0.5))
    assert data.image_shape == (1, 28, 28)
    assert (len(data.train), len(data.validation), len(data.test), data.classes) == (30, 30, 20, 10)
    assert data.test.images.flatten().tolist() == [i % 256 for i in range(20 * 784)]
    assert data.test.labels.tolist() == [i % 10 for i in range(20)]


def test_cifar100_is_confused_within_its_superclasses(tmp_path, monkeypatch):
    write_cifar(tmp_path, "cifar100")
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    spec = DataSpec(name="cifar100", root=str(tmp_path), validation_fraction=0.5, label_noise_kind="asymmetric")
    # As written above, class c is of superclass c % 20: 0, 20, 40, 60 and 80 make one.
    assert load(spec).confusions == tuple((label + 20) % 100 for label in range(100))
    file = tmp_path / FILES["cifar100"] / "train"
    content = pickle.loads(file.read_bytes())
    del content["coarse_labels"]
    file.write_bytes(pickle.dumps(content))
    read_and_split.cache_clear()
    with pytest.raises(DataError, match=r"^data\.label_noise_kind: must be symmetric, as the files lack coarse_labels"):
        load(spec)
    read_and_split.cache_clear()


def write_svhn(root):
    """Write tiny .mat files as SVHN has them: [height, width, channel, image], and class 10 for the digit 0."""
    random, written = np.random.default_rng(0), {}
    for part, count in (("train", 80), ("test", 30)):
        pixels = random.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8).reshape(-1, 1)
        savemat(root / f"{part}_32x32.mat", {"X": pixels, "y": labels})
        written[part] = pixels
    return written


def test_svhn_is_read_from_mat_files(tmp_path, monkeypatch):
    written = write_svhn(tmp_path)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)
    data = load(DataSpec(name="svhn", root=str(tmp_path), validation_fraction=0.25))
    assert (len(data.train), len(data.validation), len(data.test), data.classes) == (60, 20, 30, 10)
    assert data.test.images[7, 2, 5, 9] == written["test"][5, 9, 2, 7]
    assert np.array_equal(data.test.images.numpy(), written["test"].transpose(3, 2, 0, 1))
    assert data.test.images.is_contiguous()
    assert data.test.labels.tolist() == [(i + 1) % 10 for i in range(30)], "class 10 is the digit 0"


def write_stl10(root):
    """Write tiny .bin files as STL-10 has them: [image, channel, column, row], classes from 1."""
    random, folder, written = np.random.default_rng(0), root / FLAT["stl10"], {}
    folder.mkdir()
    for part, count in (("train", 40), ("test", 20)):
        written[part] = random.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)
        written[part].tofile(folder / f"{part}_X.bin")
        (np.arange(count) % 10 + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("".join(f"class{i}\n" for i in range(10)))
    return written


def test_the_labelled_part_of_stl10_is_read_from_binary_files(tmp_path, monkeypatch):
    written = write_stl10(tmp_path)
    monkeypatch.setattr("torchvision.datasets.stl10.check_integrity", lambda *_: True)
    data = load(DataSpec(name="stl10", root=str(tmp_path), validation_fraction=0.25))
    assert data.image_shape == (3, 96, 96)
    assert (len(data.train), len(data.validation), len(data.test), data.classes) == (30, 10, 20, 10)
    assert np.array_equal(data.test.images.numpy(), written["test"].transpose(0, 1, 3, 2)), "stored column by column"
    assert data.test.labels.tolist() == [i % 10 for i in range(20)]


@pytest.mark.parametrize("name", list(FLAT))
def test_files_of_svhn_and_stl10_that_are_not_the_real_ones_name_the_key(tmp_path, name):
    (write_svhn if name == "svhn" else write_stl10)(tmp_path)
    with pytest.raises(DataError, match=r"^data\.root: .*data\.download: true; " + name):
        load(DataSpec(name=name, root=str(tmp_path)))


@pytest.mark.parametrize("name", [*FILES, *FLAT])
def test_missing_files_name_the_key(tmp_path, name):
    with pytest.raises(DataError, match=r"^data\.root: .*data\.download: true; " + name) as caught:
        load(DataSpec(name=name, root=str(tmp_path)))
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == [], "nothing is fetched unasked"


@pytest.mark.parametrize("name", [*FILES, *FLAT])
@pytest.mark.parametrize("error", [URLError("Connection refused"), IncompleteRead(b"")])
def test_without_a_network_nothing_is_left_of_a_download(tmp_path, monkeypatch, name, error):
    def refuse(*_args, **_options):
        raise error

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    (tmp_path / "mine/empty").mkdir(parents=True)
    for root in ("mine", "new/folder"):
        with pytest.raises(DataError) as caught:
            load(DataSpec(name=name, root=str(tmp_path / root), download=True))
        rule = f"must be false where files cannot be fetched: fetch those of {name} where there is a network"
        assert str(caught.value).startswith(f"data.download: {rule}, and give their folder as data.root; got true (")
        assert len(str(caught.value).splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "mine", tmp_path / "mine/empty"]


def test_a_root_that_is_a_file_names_the_key(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"^data\.root: "):
        load(DataSpec(name="cifar10", root=str(tmp_path / "file")))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_files_that_are_not_the_real_ones_name_the_key(tmp_path, name):
    write_cifar(tmp_path, name)
    with pytest.raises(DataError, match=r"^data\.root: "):
        load(DataSpec(name=name, root=str(tmp_path)))


@pytest.mark.parametrize("size", [0, 6, 500])
def test_a_damaged_idx_file_names_the_key(tmp_path, size):
    file = write_fashion(tmp_path) / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DataError, match=r"^data\.root: "):
        load(DataSpec(name="fashion_mnist", root=str(tmp_path)))
