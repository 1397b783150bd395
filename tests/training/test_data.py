"""Splits, label noise and batches; torchvision's files in their real format."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from dks_study.method.streams import generator
from dks_study.spec.data import DataSpec
from dks_study.training.data import (
    DataError,
    DataSet,
    Split,
    batch_sizes,
    load,
    noisy_labels,
    train_batches,
)
from dks_study.training.data.loading import read_and_split
from dks_study.training.data.moves import draw_moves, move

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


def test_the_parts_together_are_all_of_digits():
    data = load(DIGITS)
    parts = [
        images for split in (data.train, data.validation, data.test) for images in split.images.flatten(1).tolist()
    ]
    bunch = load_digits()
    assert sorted(parts) == sorted((bunch.images * 15).astype(int).reshape(-1, 64).tolist())
    labels = torch.cat([data.train.labels, data.validation.labels, data.test.labels])
    assert torch.bincount(labels).tolist() == np.bincount(bunch.target).tolist()


@pytest.mark.parametrize("fraction", [0.001, 0.0001])
def test_too_small_a_validation_split_names_the_key(fraction):
    with pytest.raises(DataError, match=r"^data\.validation_fraction: "):
        load(DataSpec(name="digits", validation_fraction=fraction))


def test_the_split_depends_on_the_split_seed_alone():
    other = load(DataSpec(name="digits", validation_fraction=0.2, split_seed=1))
    assert not torch.equal(other.test.images, load(DIGITS).test.images)
    read_and_split.cache_clear()
    again = load(DIGITS.model_copy(update={"label_noise": 0.4}))
    assert torch.equal(again.test.images, load(DIGITS).test.images)
    assert torch.equal(again.train.labels, load(DIGITS).train.labels), "noise belongs to a trial, not to the data"


def test_normalised_training_images_have_mean_0_and_variance_1():
    data = load(DIGITS)
    images = data.normalise(data.train.images).double()
    assert images.mean().item() == pytest.approx(0, abs=1e-6)
    assert images.std().item() == pytest.approx(1, abs=1e-5)


def test_each_channel_is_normalised_with_the_numbers_of_the_training_images():
    random = torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    pixels = random.double() / 255
    mean, std = pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3))
    split = Split(random, torch.zeros(50, dtype=torch.int64))
    data = DataSet(split, split, split, 10, tuple(mean.tolist()), tuple(std.tolist()))
    normalised = data.normalise(random)
    assert normalised.dtype == torch.float32
    assert normalised.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert normalised.std(dim=(0, 2, 3)).tolist() == pytest.approx([1] * 3, abs=1e-5)


@given(st.integers(1, 300), st.integers(2, 12), st.sampled_from([0.0, 0.1, 0.25, 0.6, 0.99]), st.integers(0, 99))
def test_noise_changes_exactly_its_share_to_other_classes(count, classes, fraction, seed):
    labels = torch.arange(count) % classes
    noisy = noisy_labels(labels, classes, fraction, seed)
    assert (noisy != labels).sum() == round(fraction * count)
    assert ((noisy >= 0) & (noisy < classes)).all()
    assert torch.equal(noisy, noisy_labels(labels, classes, fraction, seed))


def test_each_seed_has_its_own_noise():
    labels = torch.arange(500) % 10
    first, second = (noisy_labels(labels, 10, 0.4, seed) for seed in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(labels, torch.arange(500) % 10), "the true labels are left alone"


def test_noise_falls_on_all_other_classes_alike():
    noisy = noisy_labels(torch.zeros(9000, dtype=torch.int64), 4, 0.999, seed=0)
    assert torch.bincount(noisy, minlength=4)[1:].tolist() == pytest.approx([3000] * 3, rel=0.05)


@given(
    images=st.integers(2, 200),
    batch=st.integers(8, 64),
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


@settings(max_examples=40)
@given(images=st.integers(2, 90), batch=st.integers(2, 64), seed=st.integers(0, 9), epoch=st.integers(1, 5))
def test_a_kept_partial_batch_completes_the_epoch(images, batch, seed, epoch):
    split = Split(torch.arange(images).to(torch.uint8).view(-1, 1, 1, 1), torch.arange(images))
    sizes = batch_sizes(images, batch, True, 1)
    batches = list(train_batches(split, DIGITS, sizes, seed=seed, epoch=epoch, rank=0, workers=1))
    assert [len(labels) for _, labels in batches] == sizes
    assert all(torch.equal(pictures.flatten().long(), labels) for pictures, labels in batches), "label and image agree"
    seen = sorted(torch.cat([labels for _, labels in batches]).tolist())
    assert len(set(seen)) == len(seen) == images - (1 if images % batch == 1 else 0)


def test_the_order_and_the_augmentation_follow_from_seed_and_epoch_alone():
    random = torch.randint(0, 256, (64, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    spec = DataSpec(name="digits", crop_pad_pixels=2, flip=True)

    def epoch_of(seed, epoch):
        split = Split(random, torch.arange(64))
        pairs = list(train_batches(split, spec, [32, 32], seed=seed, epoch=epoch, rank=0, workers=1))
        return torch.cat([images for images, _ in pairs]), torch.cat([labels for _, labels in pairs])

    images, labels = epoch_of(0, 1)
    torch.rand(3)  # the global stream has no part in it
    again_images, again_labels = epoch_of(0, 1)
    assert torch.equal(images, again_images)
    assert torch.equal(labels, again_labels)
    for seed, epoch in ((0, 2), (1, 1)):
        other_images, other_labels = epoch_of(seed, epoch)
        assert not torch.equal(labels, other_labels)
        assert not torch.equal(images[labels.argsort()], other_images[other_labels.argsort()]), "other crops, too"


@pytest.mark.parametrize(("batch", "workers"), [(2, 2), (4, 3), (4, 4), (2, 4)])
def test_a_batch_too_small_for_its_workers_is_refused(batch, workers):
    with pytest.raises(DataError, match=r"optimiser\.batch_size: "):
        batch_sizes(100, batch, False, workers)


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


@settings(max_examples=40)
@given(
    count=st.integers(1, 4),
    channels=st.integers(1, 3),
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    pad=st.integers(0, 4),
    flip=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_batch_moves_as_a_slow_padding_of_one_image_after_another(count, channels, height, width, pad, flip, seed):
    spec = DataSpec(name="digits", crop_pad_pixels=pad, flip=flip)
    source = generator(seed, "test")
    images = torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=source)
    moves = draw_moves(count, spec, source)
    assert moves[:, :2].abs().max() <= pad
    slow = []
    for image, (down, right, mirrored) in zip(images, moves.tolist(), strict=True):
        padded = torch.nn.functional.pad(image.float(), (pad, pad, pad, pad), mode="reflect")
        crop = padded[:, pad + down : pad + down + height, pad + right : pad + right + width]
        slow.append(crop.flip(-1) if mirrored else crop)
        assert flip or not mirrored
    moved = move(images, moves, spec)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved.float(), torch.stack(slow))


def test_every_shift_and_both_mirrorings_are_drawn_alike():
    moves = draw_moves(9000, DataSpec(name="digits", crop_pad_pixels=1, flip=True), generator(0, "test"))
    for column in (0, 1):
        assert torch.bincount(moves[:, column] + 1).tolist() == pytest.approx([3000] * 3, rel=0.08)
    assert moves[:, 2].float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_without_augmentation_images_pass_as_they_are():
    images = torch.arange(64, dtype=torch.uint8).view(4, 1, 4, 4)
    split = Split(images, torch.arange(4))
    ((pictures, labels),) = train_batches(split, DIGITS, [4], seed=0, epoch=1, rank=0, workers=1)
    assert torch.equal(pictures, images[labels])
