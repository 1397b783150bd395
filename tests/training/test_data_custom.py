"""Data from anybody's own function: what it may return, and one line for what it may not."""

import sys
from collections.abc import Mapping
from types import ModuleType

import numpy as np
import pytest

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataError, load
from dks_study.training.data.loading import read_and_split

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 5, 4, 3), dtype=np.uint8)
GOOD = {
    "train_images": PIXELS,
    "train_labels": np.arange(30) % 3,
    "test_images": PIXELS[:6],
    "test_labels": np.arange(6, dtype=np.int32) % 3,
}


@pytest.fixture
def returning(monkeypatch):
    """Make `own_data:images` return something, and load it."""
    module = ModuleType("own_data")
    monkeypatch.setitem(sys.modules, "own_data", module)

    def load_what(content, fraction=0.2, **values):
        module.images = content if callable(content) else lambda *_: content
        read_and_split.cache_clear()
        return load(DataSpec(name="own_data:images", validation_fraction=fraction, **values))

    yield load_what
    read_and_split.cache_clear()


@pytest.mark.parametrize("channels_first", [False, True])
def test_images_come_with_their_channels_first_or_last(returning, channels_first):
    content = {k: v.transpose(0, 3, 1, 2) if channels_first and v.ndim == 4 else v for k, v in GOOD.items()}
    data = returning(content)
    assert data.image_shape == (3, 5, 4)
    assert (len(data.train), len(data.validation), len(data.test), data.classes) == (24, 6, 6, 3)
    assert np.array_equal(data.test.images.numpy(), PIXELS[:6].transpose(0, 3, 1, 2))
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_the_function_gets_the_root_and_may_say_how_many_classes_there_are(returning):
    asked = []

    def images(*root):
        asked.append(root)
        return GOOD | {"classes": 5}

    assert returning(images, root="somewhere").classes == 5
    returning(images)
    assert asked == [("somewhere",), ()]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"validation_images": PIXELS}, r"classes alone, got validation_images"),
        ({"test_labels": np.arange(6) + 1}, r"test_labels must be of classes that have training images, got 3"),
    ],
)
def test_what_would_not_mean_what_it_says_is_refused(returning, more, message):
    with pytest.raises(DataError, match=message):
        returning(GOOD | more)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": PIXELS / 255}, "train_images must be uint8 .* with 1 or 3 channels, got float64 "),
        ({"train_images": PIXELS[0]}, r"train_images must be uint8 .*, got uint8 \[5, 4, 3\]"),
        ({"test_images": PIXELS[:6, :, :, :2]}, r"test_images must be uint8 .*, got uint8 \[6, 5, 4, 2\]"),
        ({"test_images": PIXELS[:6, :4]}, r"must return train and test images of one shape, got \(3, 5, 4\) and"),
        ({"train_labels": np.arange(29)}, r"train_labels must be 30 integers from 0, .*, got int64 \[29\]"),
        ({"train_labels": np.zeros(30)}, "train_labels must be 30 integers from 0, .*, got float64"),
        ({"test_labels": np.arange(6) - 1}, "test_labels must be 6 integers from 0, one for each image, got -1$"),
        (
            {"train_labels": np.full(30, 2**64 - 1, dtype=np.uint64)},
            "train_labels .*, got 18446744073709551615$",
        ),
        ({"train_labels": np.arange(30) % 2 == 0}, r"train_labels must be 30 integers from 0, .*, got bool \[30\]"),
        (
            {"train_images": np.ma.masked_equal(PIXELS, PIXELS[0, 0, 0, 0])},
            "train_images must have no masked values, got ",
        ),
        ({"train_labels": [[0], [1, 2]] * 15}, "train_labels must be one array, .*, got list .ValueError: "),
        ({"classes": 2}, "classes must be above label 2 and at most the 30 training images, got 2$"),
        ({"classes": "3"}, "classes must be above label 2 and .*, got '3'$"),
        ({"classes": 10**12}, "classes must be above label 2 and at most the 30 training images, got 1000000000000$"),
        ({"train_images": [PIXELS[0], PIXELS[1, :4]] * 15}, "train_images must be one array, of pictures of one size"),
        ({"train_images": PIXELS[:, :0]}, r"train_images must hold an image, and images a pixel, got \[30, 0, 4, 3\]"),
        ({"test_images": PIXELS[:6, :, :0]}, r"test_images must hold an image, and .*, got \[6, 5, 0, 3\]"),
        ({"test_images": PIXELS[:0]}, r"test_images must hold an image, and images a pixel, got \[0, 5, 4, 3\]"),
        ({"train_images": PIXELS.astype(np.int8)}, r"train_images must be uint8 .*, got int8 \[30, 5, 4, 3\]"),
        ({"train_images": PIXELS.astype(object)}, r"train_images must be uint8 .*, got object \[30, 5, 4, 3\]"),
        ({"train_images": np.full(PIXELS.shape, np.nan)}, "train_images must be uint8 .*, got float64"),
        ({"train_images": None}, r"train_images must be uint8 .*, got object \[\]"),
    ],
)
def test_wrong_arrays_are_refused_in_one_line(returning, change, message):
    with pytest.raises(DataError, match=r"^data\.name: own_data:images.*" + message) as caught:
        returning(GOOD | change)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("label", [30, 10**9, 10**12])
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_label_that_no_class_can_have_is_named_and_takes_no_memory(returning, part, label):
    labels = GOOD[f"{part}_labels"].astype(np.int64)
    labels[1] = label
    with pytest.raises(DataError) as caught:
        returning(GOOD | {f"{part}_labels": labels})
    rule = f"{part}_labels must be below the 30 training images"
    assert str(caught.value) == f"data.name: own_data:images: {rule}, got {label}"


def test_a_validation_fraction_that_leaves_too_little_is_named_with_what_it_makes(returning):
    with pytest.raises(DataError) as caught:
        returning(GOOD, fraction=0.001)
    rule, got = "must leave an image of each of 3 classes", "got 0.001, which makes 0 of 30 training images"
    assert str(caught.value) == f"data.validation_fraction: {rule}, {got}"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            np.zeros(30, dtype=int),
            "must have training images of two classes at least, got one class in own_data:images",
        ),
        (np.arange(30) // 29, "must have two training images of a class at least, got one of 1 in own_data:images"),
    ],
)
def test_classes_that_cannot_be_told_apart_or_cut_are_refused(returning, labels, message):
    with pytest.raises(DataError) as caught:
        returning(GOOD | {"train_labels": labels, "test_labels": np.zeros(6, dtype=int), "classes": 3})
    assert str(caught.value) == f"data.name: {message}"


class Speechless(Exception):
    """An error that cannot be printed."""

    def __str__(self):
        raise ValueError("no words")


class Broken(Mapping):
    """A mapping that reads only when asked, and cannot."""

    def __getitem__(self, key):
        raise RuntimeError("no\nfile")

    def __iter__(self):
        return iter(GOOD)

    def __len__(self):
        return len(GOOD)


def test_other_answers_and_failures_name_the_function(returning):
    def failing():
        raise KeyError("two\nlines")

    def leaving():
        raise SystemExit(0)

    def speechless():
        raise Speechless

    for content, message in [
        (speechless, r"cannot be called \(Speechless\)"),
        (Broken(), r"cannot be called \(RuntimeError: no file\)"),
        (leaving, r"cannot be called \(SystemExit: 0\)"),
        ([1], r"must return a mapping, got list"),
        ({"train_images": PIXELS}, r"must return train_labels, got train_images"),
        (failing, r"cannot be called \(KeyError: .*\)"),
    ]:
        with pytest.raises(DataError, match=r"^data\.name: own_data:images " + message) as caught:
            returning(content)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["no_such_module:images", "own_data:other"])
def test_a_function_that_is_not_there_names_the_key(returning, name):
    with pytest.raises(DataError, match=rf"^data\.name: {name} cannot be called \((ModuleNotFound|Attribute)Error: "):
        load(DataSpec(name=name))
