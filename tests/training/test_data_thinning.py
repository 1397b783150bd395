"""Fewer images, unequal classes and wrong labels: exact numbers, drawn by seed, of training images alone."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataError, DataSet, Split, load, noisy_labels, training_labels
from dks_study.training.data.noise import CIFAR10_CONFUSIONS, next_in_group
from dks_study.training.data.splits import long_tail, subset

LABELS = st.lists(st.integers(0, 4), min_size=20, max_size=200).map(lambda tail: torch.tensor([0, 1, 2, 3, 4, *tail]))


def counts(labels, classes=5):
    return torch.bincount(labels, minlength=classes)


@settings(max_examples=60)
@given(LABELS, st.data(), st.integers(0, 9))
def test_a_subset_has_every_class_in_its_share(labels, data, seed):
    count = data.draw(st.integers(1, len(labels)))
    exact = counts(labels).double() * count / len(labels)
    assume(exact.min() >= 1)
    kept = subset(labels, 5, count, seed)
    assert len(set(kept.tolist())) == len(kept) == count
    assert (kept[1:] > kept[:-1]).all(), "in the order they were"
    assert ((counts(labels[kept]) - exact).abs() < 1).all()
    assert np.array_equal(kept, subset(labels, 5, count, seed))


@settings(max_examples=60)
@given(LABELS, st.floats(1, 4), st.floats(1, 4), st.integers(0, 9))
def test_a_long_tail_falls_from_class_to_class_and_a_longer_one_is_part_of_it(labels, ratio, more, seed):
    try:
        kept, fewer = long_tail(labels, 5, ratio, seed), long_tail(labels, 5, ratio * more, seed)
    except DataError:
        assume(False)
    falling = counts(labels[kept]).tolist()
    assert falling == sorted(falling, reverse=True)
    have = counts(labels).double()
    head = min(float(have[c]) * ratio ** (c / 4) for c in range(5))  # the longest head whose tail the classes can give
    assert falling == pytest.approx([head * ratio ** (-c / 4) for c in range(5)], abs=1)
    if (have == have[0]).all():
        assert set(fewer.tolist()) <= set(kept.tolist())


def test_ten_equal_classes_get_the_published_long_tail():
    labels = torch.arange(50_000) % 10
    published = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]  # CIFAR-10-LT, ratio 100 (Cui et al., CVPR 2019)
    assert counts(labels[long_tail(labels, 10, 100.0, 0)], 10).tolist() == published


def test_thinning_touches_training_images_alone_and_not_the_trials_seed():
    plain = load(DataSpec(name="digits"))
    data = load(DataSpec(name="digits", train_images=200, imbalance=5.0, label_noise=0.4))
    assert len(data.train) == 200
    share = counts(data.train.labels, 10)
    assert share[0] / share[9] == pytest.approx(5, rel=0.2)
    assert torch.equal(data.validation.images, plain.validation.images)
    assert torch.equal(data.test.labels, plain.test.labels)
    rows = {image.tobytes() for image in plain.train.images.numpy()}
    assert all(image.tobytes() in rows for image in data.train.images.numpy())
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), rel=1e-12), "of what is trained on"
    assert data.std == pytest.approx(pixels.std((0, 2, 3)).tolist(), rel=1e-12)
    other = load(DataSpec(name="digits", train_images=200, imbalance=5.0, label_noise=0.4, split_seed=1))
    assert not torch.equal(other.train.images, data.train.images)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train_images": 5}, "data.train_images: must leave an image of each of 10 classes, got 5"),
        ({"train_images": 1213}, "data.train_images: must be at most the 1212 training images, got 1213"),
        ({"imbalance": 500.0}, "data.imbalance: must leave an image of each of 10 classes, got 500"),
        ({"crop_pad_pixels": 8}, "data.crop_pad_pixels: must be below the 8 pixels of a side, got 8"),
        ({"cutout_pixels": 9}, "data.cutout_pixels: must be at most the 8 pixels of a side, got 9"),
    ],
)
def test_numbers_that_do_not_fit_the_images_name_the_key(values, message):
    with pytest.raises(DataError) as caught:
        load(DataSpec(name="digits", **values))
    assert str(caught.value) == message


def test_cifar10_is_confused_as_the_literature_has_it():
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    usual = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}
    assert [names[c] for c in CIFAR10_CONFUSIONS] == [usual.get(name, name) for name in names]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=200).map(torch.tensor), st.floats(0, 0.99), st.integers(0, 9))
def test_asymmetric_noise_takes_its_share_of_the_classes_that_can_be_confused(labels, fraction, seed):
    noisy = noisy_labels(labels, 10, fraction, seed, CIFAR10_CONFUSIONS)
    wrong = noisy != labels
    confused = torch.tensor(CIFAR10_CONFUSIONS)[labels]
    assert torch.equal(noisy[wrong], confused[wrong])
    assert wrong.sum() == round(fraction * int((confused != labels).sum()))
    assert torch.equal(noisy, noisy_labels(labels, 10, fraction, seed, CIFAR10_CONFUSIONS))


def test_classes_are_confused_with_the_next_of_their_group():
    assert next_in_group([0] * 4) == (1, 2, 3, 0)
    assert next_in_group([7, 3, 7, 3, 7]) == (2, 3, 4, 1, 0)
    assert load(DataSpec(name="digits")).confusions == (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)


def test_a_trial_trains_on_the_kind_of_noise_that_it_names():
    labels = torch.arange(400) % 10
    split = Split(torch.zeros(400, 1, 2, 2, dtype=torch.uint8), labels)
    data = DataSet(split, split, split, 10, (0.0,), (1.0,), CIFAR10_CONFUSIONS)
    symmetric, asymmetric = (
        training_labels(data, DataSpec(name="digits", label_noise=0.5, label_noise_kind=kind), seed=0)
        for kind in ("symmetric", "asymmetric")
    )
    assert torch.equal(symmetric, noisy_labels(labels, 10, 0.5, 0))
    assert (asymmetric != labels).sum() == 100, "half of the five classes that can be confused"
    assert torch.equal(training_labels(data, DataSpec(name="digits"), seed=0), labels)
