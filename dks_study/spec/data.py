"""Which data set, how it is split and thinned, and what is done to the training images and labels.

Test images and labels are never touched by noise, subsets, imbalance or augmentation; validation labels can be made
wrong like training labels (`label_noise_in`), as a user's own are.
"""

import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from dks_study.spec.base import Extended, Fraction, Name, Seed

DOWNLOADED = ("cifar10", "cifar100", "fashion_mnist", "svhn", "stl10")
FOLDERS = ("imagenet", "image_folder")
NAMES = ("digits", *DOWNLOADED, *FOLDERS)
IMAGENET_PIXELS = 224
_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


DIGITS, DIGITS_TEST = 1797, 450  # images; the test images are drawn by split_seed, as those of no other set are


class DataSpec(Extended):
    """The data set, how it is split, and what is done to the training images and labels.

    Attributes:
        name: `digits` ships with scikit-learn; cifar10, cifar100, fashion_mnist, svhn and stl10 are read by
            torchvision; imagenet and image_folder are folders ROOT/train/CLASS and ROOT/val/CLASS (image_folder:
            or ROOT/test/CLASS); `package.module:callable` names a function that returns arrays.
        root: the folder with the files; given to a callable if set.
        download: let torchvision fetch what is missing.
        validation_fraction: of the training images, cut off stratified by `split_seed`.
        imbalance: how many times the first class has more training images than the last; between them the numbers
            fall exponentially (a long tail). Drawn by `split_seed`, after the validation cut.
        train_images: keep that many training images, with the classes' shares as they are; None keeps all. Drawn by
            `split_seed`, after `imbalance`.
        split_seed: draws the validation cut, and whatever else must be the same in all trials.
        label_noise: the fraction of the training labels that are wrong.
        label_noise_in: where: [train], or [train, validation]. Wrong validation labels are drawn by `split_seed`: they
            are the same in all trials, which are chosen by them. Test labels are never wrong.
        label_noise_kind: symmetric: any other class, uniformly. asymmetric: the class that each is mistaken for, and
            the fraction counts labels of the classes that have one. cifar10: truck>automobile, bird>airplane,
            deer>horse, cat>dog, dog>cat. cifar100: the next class of the same superclass. Others: the next class.
        flip: mirror half of the training images.
        crop_pad_pixels: shift by up to that many pixels, what comes in at the border being what `crop_pad_mode` says.
        crop_pad_mode: the border is reflected, or zero.
        cutout_pixels: side of a square of the mean colour at a random place, cut off at the border; 0: none.
        random_erasing: probability of a random rectangle (2 to 33 % of the area) of the mean colour.
        rand_augment_operations: so many random operations on each image, of strength `rand_augment_magnitude`.
        rand_augment_magnitude: the strength of those operations.
        mixup_alpha, cutmix_alpha: mix pairs of images by a fraction from Beta(alpha, alpha); 0: off. With both, each
            batch has one of them, with probability 1/2.
        in_memory: image_folder alone: decode once (default), or on the fly as imagenet is.
        image_pixels: side of a decoded image. In memory: images of another size are resized and centre-cropped to it;
            on the fly: that of the random crop (training) and of the centre crop (evaluation); imagenet: 224.
        evaluation: how a file becomes an image when evaluating; sizes are for 224 pixels and scale with
            `image_pixels`. torchvision: shorter side to 256, bilinear, centre crop of 224. squash: to 256 x 256
            whatever the shape, bicubic, centre crop of 224 (the authors' test images).
        decode_workers: processes that decode files for each training process; 0: the training process does.
        tests: further test sets by name, shifted ones perhaps: a folder with the folders of the classes, or
            `package.module:callable`, which returns test_images and test_labels. Each is looked at once, when the test
            set is, with the last epoch's weights (`test_NAME/top1/main`); the same in the whole study.
    """

    LATER = ("tests",)

    name: str
    root: str | None = None
    download: bool = False
    validation_fraction: float = Field(default=0.1, gt=0, le=0.5)
    split_seed: Seed = 0
    imbalance: float = Field(default=1.0, ge=1)
    train_images: int | None = Field(default=None, ge=2, lt=2**31)
    label_noise: Fraction = 0.0
    label_noise_kind: Literal["symmetric", "asymmetric"] = "symmetric"
    label_noise_in: tuple[Literal["train", "validation"], ...] = ("train",)
    flip: bool = False
    crop_pad_pixels: int = Field(default=0, ge=0, le=16)
    crop_pad_mode: Literal["reflect", "zero"] = "reflect"
    cutout_pixels: int = Field(default=0, ge=0, le=2048)
    random_erasing: Fraction = 0.0
    rand_augment_operations: int = Field(default=0, ge=0, le=8)
    rand_augment_magnitude: int = Field(default=9, ge=0, le=30)
    mixup_alpha: float = Field(default=0.0, ge=0)
    cutmix_alpha: float = Field(default=0.0, ge=0)
    in_memory: bool | None = None
    image_pixels: int | None = Field(default=None, ge=8, le=2048)
    evaluation: Literal["torchvision", "squash"] = "torchvision"
    decode_workers: int = Field(default=0, ge=0, le=1024)
    tests: dict[Name, str] = Field(default={})

    def __hash__(self) -> int:
        """Depend on all values; pydantic's own cannot hash a mapping."""
        return hash(self.model_dump_json())

    @property
    def on_disk(self) -> bool:
        """Are images decoded on the fly, instead of living in memory?"""
        return self.name == "imagenet" or (self.name == "image_folder" and self.in_memory is False)

    @property
    def as_read(self) -> "DataSpec":
        """The same images before anything is done to them: without what batches and labels are changed by."""
        changes = _ON_BATCHES if self.on_disk else (*_ON_BATCHES, "flip")
        return self.model_copy(update={key: type(self).model_fields[key].default for key in changes})

    @property
    def side_pixels(self) -> int | None:
        """Side of a decoded image; None: as the files are."""
        return IMAGENET_PIXELS if self.name == "imagenet" and self.image_pixels is None else self.image_pixels

    @property
    def test_to_training(self) -> float | None:
        """Test images for each training image where another split draws other test images; None: they are fixed."""
        if self.name != "digits":
            return None
        pool, classes = DIGITS - DIGITS_TEST, 10
        kept = pool - round(self.validation_fraction * pool)
        # Classes of a long tail, of which the pool has nearly as many images each.
        tail = sum(self.imbalance ** -(each / (classes - 1)) for each in range(classes)) / classes
        return DIGITS_TEST / (self.train_images or kept * tail)

    @property
    def wrong_labels(self) -> str:
        """Say how many labels are made wrong, and where: `40 % of the training labels are wrong (symmetric)`, or ""."""
        where = " and ".join({"train": "training"}.get(split, split) for split in self.label_noise_in)
        said = f"{100 * self.label_noise:g} % of the {where} labels are wrong ({self.label_noise_kind})"
        return said if self.label_noise else ""

    @property
    def mixes(self) -> bool:
        """Are pairs of training images mixed, and hence targets distributions over classes?"""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    @model_validator(mode="after")
    def _the_set_is_known(self) -> Self:
        if self.name not in NAMES and not is_callable(self.name):
            known = ", ".join(NAMES)
            raise ValueError(f"name: must be {known}, or package.module:callable, got {self.name!r}")
        return self

    @model_validator(mode="after")
    def _tests_have_names_and_places(self) -> Self:
        if "chosen" in self.tests:
            rule = "must have another name, as test_chosen is of the epoch that validation chose"
            raise ValueError(f"tests.chosen: {rule}, got {self.tests['chosen']!r}")
        for name, place in self.tests.items():
            if not place:
                raise ValueError(f"tests.{name}: must be a folder or package.module:callable, got {place!r}")
        return self

    @model_validator(mode="after")
    def _noise_is_in_train(self) -> Self:
        if self.label_noise_in not in (("train",), ("train", "validation")):
            rule = "must be [train] or [train, validation]"
            raise ValueError(f"label_noise_in: {rule}, got {list(self.label_noise_in)}")
        return self

    @model_validator(mode="after")
    def _files_have_a_root(self) -> Self:
        if self.name in (*DOWNLOADED, *FOLDERS) and self.root is None:
            raise ValueError(f"root: must name the folder with the files of {self.name}, got null")
        if self.name == "digits" and self.root is not None:
            raise ValueError(f"root: must be left out for digits, which ships with scikit-learn, got {self.root!r}")
        if self.download and self.name not in DOWNLOADED:
            raise ValueError(f"download: must be false for {self.name} ({', '.join(DOWNLOADED)} can be), got true")
        return self

    @model_validator(mode="after")
    def _keys_apply_to_the_set(self) -> Self:
        if self.in_memory is not None and self.name != "image_folder":
            raise ValueError(f"in_memory: must be left out for {self.name}, got {str(self.in_memory).lower()}")
        if self.image_pixels is not None and self.name not in FOLDERS:
            raise ValueError(f"image_pixels: must be left out for {self.name}, got {self.image_pixels}")
        if self.on_disk and self.side_pixels is None:
            raise ValueError("image_pixels: must be given for an image_folder that is decoded on the fly, got null")
        self._refuse_changed(_ON_DISK if not self.on_disk else _IN_MEMORY)
        return self

    def _refuse_changed(self, keys: Mapping[str, str]) -> None:
        for key, reason in keys.items():
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                raise ValueError(f"{key}: must be left out for {self.name}{reason}, got {value}")


def is_callable(place: str) -> bool:
    """Does `place` name a function, package.module:callable, and no folder?"""
    return _CALLABLE.fullmatch(place) is not None


_ON_BATCHES = (
    *("label_noise", "label_noise_in", "crop_pad_pixels", "crop_pad_mode", "cutout_pixels", "random_erasing"),
    *("rand_augment_operations", "rand_augment_magnitude", "mixup_alpha", "cutmix_alpha"),
)
_ON_DISK = {"evaluation": ", which lives in memory", "decode_workers": ", which lives in memory"}
_IN_MEMORY = {"crop_pad_pixels": ", whose training crops are random already"}
