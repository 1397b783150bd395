"""Splits, label noise and batches; torchvision's files in their real format."""

import pickle
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import datasets

from dks_study.data import DataError, Split, batch_sizes, load, noisy_labels, train_batches
from dks_study.spec import DataSpec

DIGITS = DataSpec(name="digits", validation_fraction=0.2)


def rows(split):
    return {images.tobytes() for images in split.images.flatten(1).numpy()}


def test_digits_are_cut_into_three_disjoint_stratified_parts():
    data = load(DIGITS)
    assert (len(data.train), len(data.validation), len(data.test)) == (1078, 269, 450)
    assert not rows(data.train) & rows(data.test)
    assert not rows(data.train) & rows(data.validation)
    for split in (data.train, data.validation, data.test):
        shares = torch.bincount(split.labels, minlength=10) / len(split)
        assert ((shares - 0.1).abs() < 0.012).all()
    assert data.image_shape == (1, 8, 8)
    assert data.train.images.dtype == torch.uint8


def test_the_split_depends_on_the_split_seed_alone():
    other = load(DataSpec(name="digits", validation_fraction=0.2, split_seed=1))
    assert not torch.equal(other.test.images, load(DIGITS).test.images)
    load.cache_clear()
    again = load(DIGITS.model_copy(update={"label_noise": 0.4}))
    assert torch.equal(again.test.images, load(DIGITS).test.images)
    assert torch.equal(again.train.labels, load(DIGITS).train.labels), "noise belongs to a trial, not to the data"


def test_normalised_training_images_have_mean_0_and_variance_1():
    data = load(DIGITS)
    images = data.normalise(data.train.images).double()
    assert images.mean().item() == pytest.approx(0, abs=1e-6)
    assert images.std().item() == pytest.approx(1, abs=1e-5)


@given(st.integers(1, 300), st.integers(2, 12), st.sampled_from([0.0, 0.1, 0.25, 0.6, 0.99]), st.integers(0, 99))
def test_noise_changes_exactly_its_share_to_other_classes(count, classes, fraction, seed):
    labels = torch.arange(count) % classes
    noisy = noisy_labels(labels, classes, fraction, seed)
    assert (noisy != labels).sum() == round(fraction * count)
    assert ((noisy >= 0) & (noisy < classes)).all()
    assert torch.equal(noisy, noisy_labels(labels, classes, fraction, seed))


def test_noise_falls_on_all_other_classes_alike():
    noisy = noisy_labels(torch.zeros(9000, dtype=torch.int64), 4, 0.999, seed=0)
    assert torch.bincount(noisy, minlength=4)[1:].tolist() == pytest.approx([3000] * 3, rel=0.05)


@given(
    images=st.integers(2, 200),
    batch=st.integers(2, 64),
    workers=st.integers(1, 4),
    keep=st.booleans(),
    pad=st.integers(0, 2),
    epoch=st.integers(1, 3),
)
def test_the_shares_of_all_workers_are_the_batches_of_one(images, batch, workers, keep, pad, epoch):
    if images < batch and not (keep and images >= 2 * workers):
        return
    pictures = torch.arange(images * 16).remainder(251).to(torch.uint8).view(images, 1, 4, 4)
    split = Split(pictures, torch.arange(images))
    spec = DataSpec(name="digits", crop_pad_pixels=pad, flip=True)
    sizes = batch_sizes(images, batch, keep, workers)
    seeds = {"seed": 5, "epoch": epoch}
    alone = list(train_batches(split, spec, sizes, rank=0, workers=1, **seeds))
    shares = [list(train_batches(split, spec, sizes, rank=rank, workers=workers, **seeds)) for rank in range(workers)]
    for step, (whole_images, whole_labels) in enumerate(alone):
        for rank in range(workers):
            assert torch.equal(shares[rank][step][0], whole_images[rank::workers])
            assert torch.equal(shares[rank][step][1], whole_labels[rank::workers])
    seen = torch.cat([labels for _, labels in alone])
    assert len(seen.unique()) == len(seen) == sum(sizes), "no image twice in an epoch"


def test_an_epoch_has_every_image_once_if_the_last_batch_is_kept():
    assert batch_sizes(300, 128, True, 2) == [128, 128, 44]
    assert batch_sizes(300, 128, False, 1) == [128, 128]
    assert batch_sizes(257, 128, True, 1) == [128, 128], "batch norm cannot normalise one image"
    with pytest.raises(DataError, match=r"optimiser\.batch_size: must be at most the 100 training images, got 128"):
        batch_sizes(100, 128, False, 1)


def test_augmentation_is_a_reflected_crop_and_a_flip_of_each_image():
    """Every augmented image must be one of the crops that a slow padding of that very image allows."""
    random = torch.randint(0, 256, (40, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    spec = DataSpec(name="digits", crop_pad_pixels=2, flip=True)
    moves = set()
    for images, indices in train_batches(
        Split(random, torch.arange(40)), spec, [40], seed=0, epoch=1, rank=0, workers=1
    ):
        for image, index in zip(images, indices, strict=True):
            padded = torch.nn.functional.pad(random[index].float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
            crops = {(y, x, f): padded[:, y : y + 6, x : x + 5] for y in range(5) for x in range(5) for f in (0, 1)}
            hits = {key for key, crop in crops.items() if torch.equal(crop.flip(-1) if key[2] else crop, image)}
            assert hits
            moves |= hits
    assert {flip for *_, flip in moves} == {0, 1}
    assert len({(y, x) for y, x, _ in moves}) > 10


def write_cifar(root, name):
    """Write ten training files' worth of tiny CIFAR in the real format; return the number of training images."""
    random, fine = np.random.default_rng(0), name == "cifar100"
    folder = root / ("cifar-100-python" if fine else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    classes, key = (100, "fine_labels") if fine else (10, "labels")
    files = {"train": 400, "test": 200} if fine else {**{f"data_batch_{i}": 40 for i in range(1, 6)}, "test_batch": 50}
    for file, count in files.items():
        pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        content = {"data": pixels, key: [i % classes for i in range(count)]}
        (folder / file).write_bytes(pickle.dumps(content))
    names = {"fine_label_names" if fine else "label_names": [f"class{i}" for i in range(classes)]}
    (folder / ("meta" if fine else "batches.meta")).write_bytes(pickle.dumps(names))
    return 400 if fine else 200


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_files_are_read_as_torchvision_stores_them(tmp_path, monkeypatch, name):
    count = write_cifar(tmp_path, name)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)  # the sums are of the real files
    data = load(DataSpec(name=name, root=str(tmp_path), validation_fraction=0.5))
    kind = datasets.CIFAR100 if name == "cifar100" else datasets.CIFAR10
    assert (len(data.train), len(data.validation)) == (count // 2, count // 2)
    assert data.image_shape == (3, 32, 32)
    first = torch.from_numpy(kind(str(tmp_path), train=False).data[0]).permute(2, 0, 1)
    assert torch.equal(data.test.images[0], first)
    assert data.classes == len(kind(str(tmp_path)).classes)
    assert len(data.mean) == 3


def test_fashion_mnist_is_read_from_idx_files(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 20)):
        pixels = (np.arange(count * 784) % 256).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    data = load(DataSpec(name="fashion_mnist", root=str(tmp_path), validation_fraction=0.5))
    assert data.image_shape == (1, 28, 28)
    assert data.test.images.flatten()[:3].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_missing_files_name_the_key(tmp_path, name):
    with pytest.raises(DataError, match=r"^data\.root: .*data\.download: true; " + name):
        load(DataSpec(name=name, root=str(tmp_path)))
