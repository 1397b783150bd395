"""What a description of data may say; keys that do not apply to a set are refused in one line."""

import json

import pytest
from pydantic import ValidationError

from dks_study.spec.data import NAMES, DataSpec


def error_of(**values):
    with pytest.raises(ValidationError) as caught:
        DataSpec(**values)
    (error,) = caught.value.errors()
    return error["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize("name", [*NAMES, "package.module:function", "module:Class"])
def test_every_set_needs_no_more_than_a_name_and_a_root(name):
    spec = DataSpec(name=name, root=None if name == "digits" else "data")
    assert DataSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.on_disk == (name == "imagenet")
    assert spec.side_pixels == (224 if name == "imagenet" else None)
    assert not spec.mixes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "mnist"}, f"name: must be {', '.join(NAMES)}, or package.module:callable, got 'mnist'"),
        ({"name": "a-b:f"}, f"name: must be {', '.join(NAMES)}, or package.module:callable, got 'a-b:f'"),
        ({"name": "imagenet"}, "root: must name the folder with the files of imagenet, got null"),
        ({"name": "digits", "root": "x"}, "root: must be left out for digits, which ships with scikit-learn, got 'x'"),
        (
            {"name": "imagenet", "root": "x", "download": True},
            "download: must be false for imagenet (cifar10, cifar100, fashion_mnist, svhn, stl10 can be), got true",
        ),
        ({"name": "svhn", "root": "x", "in_memory": False}, "in_memory: must be left out for svhn, got false"),
        ({"name": "digits", "image_pixels": 32}, "image_pixels: must be left out for digits, got 32"),
        (
            {"name": "image_folder", "root": "x", "in_memory": False},
            "image_pixels: must be given for an image_folder that is decoded on the fly, got null",
        ),
        (
            {"name": "image_folder", "root": "x", "evaluation": "squash"},
            "evaluation: must be left out for image_folder, which lives in memory, got squash",
        ),
        (
            {"name": "digits", "decode_workers": 2},
            "decode_workers: must be left out for digits, which lives in memory, got 2",
        ),
        (
            {"name": "imagenet", "root": "x", "crop_pad_pixels": 4},
            "crop_pad_pixels: must be left out for imagenet, whose training crops are random already, got 4",
        ),
    ],
)
def test_what_does_not_fit_the_set_names_the_key_the_rule_and_the_value(values, message):
    assert error_of(**values) == message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("imbalance", 0.5),
        ("train_images", 1),
        ("label_noise_kind", "pairs"),
        ("crop_pad_mode", "edge"),
        ("cutout_pixels", -1),
        ("random_erasing", 1.0),
        ("rand_augment_operations", 9),
        ("rand_augment_magnitude", 31),
        ("mixup_alpha", -0.1),
        ("cutmix_alpha", float("nan")),
        ("image_pixels", 4),
        ("evaluation", "crop"),
        ("decode_workers", -1),
    ],
)
def test_each_number_and_word_has_its_range(key, value):
    with pytest.raises(ValidationError) as caught:
        DataSpec(name="image_folder", root="x", **{key: value})
    assert caught.value.errors()[0]["loc"] == (key,)


def test_a_folder_on_disk_takes_the_keys_of_files():
    values = {"name": "image_folder", "root": "x", "in_memory": False, "image_pixels": 64, "evaluation": "squash"}
    spec = DataSpec.model_validate_json(json.dumps(values | {"decode_workers": 3, "mixup_alpha": 0.2}))
    assert (spec.on_disk, spec.side_pixels, spec.mixes) == (True, 64, True)
