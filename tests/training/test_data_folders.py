"""Folders of image files: in memory, and decoded on the fly as ImageNet is, with the number of processes immaterial."""

import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from pictures import CLASSES, write_folders
from PIL import Image
from torchvision import transforms

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataError, evaluation_batches, load, train_batches
from dks_study.training.data.files import View, without_ends
from dks_study.training.data.folders import Shape
from dks_study.training.data.loading import read_and_split

IMAGENET = {"name": "imagenet", "validation_fraction": 0.25, "image_pixels": 32}


@pytest.fixture
def folder(tmp_path):
    yield write_folders(tmp_path)
    read_and_split.cache_clear()


def files_of(root, part):
    return [(path, label) for label, name in enumerate(CLASSES) for path in sorted((root / part / name).iterdir())]


def by_torchvision(side, evaluation):
    """The two evaluations in torchvision's own words, on PIL pictures."""
    larger = round(side * 256 / 224)
    resize = {
        "torchvision": transforms.Resize(larger),  # the shorter side, bilinear
        "squash": transforms.Resize((larger, larger), transforms.InterpolationMode.BICUBIC),
    }[evaluation]
    return transforms.Compose([resize, transforms.CenterCrop(side), transforms.PILToTensor()])


def everything(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize(("evaluation", "pixels"), [("torchvision", None), ("squash", None), ("squash", 112)])
def test_imagenets_test_images_are_those_of_val_as_torchvision_evaluates_them(folder, evaluation, pixels):
    spec = DataSpec(name="imagenet", root=str(folder), validation_fraction=0.25, evaluation=evaluation)
    data = load(spec.model_copy(update={"image_pixels": pixels}))
    side = pixels or 224
    assert data.image_shape == (3, side, side)
    assert data.classes == 3
    assert (data.mean, data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    images, labels = everything(evaluation_batches(data.test, 0, 1))
    slow = by_torchvision(side, evaluation)
    expected = [slow(Image.open(path)) for path, _ in files_of(folder, "val")]
    assert images.dtype == torch.uint8
    assert torch.equal(images, torch.stack(expected))
    assert labels.tolist() == [label for _, label in files_of(folder, "val")]


def test_validation_is_cut_from_imagenets_training_images_and_evaluated_like_test_images(folder):
    data = load(DataSpec(root=str(folder), **IMAGENET))
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 6, 6)
    assert torch.bincount(data.train.labels).tolist() == [6] * 3
    assert not set(data.train.positions.tolist()) & set(data.validation.positions.tolist())
    images, labels = everything(evaluation_batches(data.validation, 0, 1))
    files = files_of(folder, "train")
    slow = by_torchvision(32, "torchvision")
    for image, label, position in zip(images, labels.tolist(), data.validation.positions, strict=True):
        path, true = files[position]
        assert label == true
        assert torch.equal(image, slow(Image.open(path)))


def train(data, spec, rank=0, workers=1, epoch=1, seed=3):
    where = {"seed": seed, "epoch": epoch, "rank": rank, "workers": workers}
    return list(train_batches(data.train, spec, [6, 6, 6], classes=3, mean=data.mean, **where))


def test_training_images_are_random_crops_by_seed_epoch_and_image(folder):
    spec = DataSpec(root=str(folder), flip=True, **IMAGENET)
    data = load(spec)
    alone = train(data, spec)
    assert all(images.shape == (6, 3, 32, 32) and images.dtype == torch.uint8 for images, _ in alone)
    again, other_epoch, other_seed = train(data, spec), train(data, spec, epoch=2), train(data, spec, seed=4)
    images, labels = everything(alone)
    assert torch.equal(images, everything(again)[0])
    for other in (other_epoch, other_seed):
        rows = {image.tobytes() for image in everything(other)[0].numpy()}
        assert not rows & {image.tobytes() for image in images.numpy()}
    assert torch.bincount(labels).tolist() == [6] * 3
    for rank in (0, 1):
        for (mine, own), (whole, of_whole) in zip(train(data, spec, rank, 2), alone, strict=True):
            assert torch.equal(mine, whole[rank::2])
            assert torch.equal(own, of_whole[rank::2])


def test_an_image_on_disk_depends_on_its_epoch_and_not_on_its_batch(folder):
    data = load(DataSpec(root=str(folder), flip=True, **IMAGENET))
    (one,) = data.train.decode([torch.tensor([4])], epoch=2, seed=1)
    (other,) = data.train.decode([torch.tensor([9, 4, 0])], epoch=2, seed=1)
    assert torch.equal(one[0], other[1])


def test_a_crop_is_a_resized_part_of_the_image(tmp_path):
    """Left half red, right half blue: any crop, mirrored or not, has at most one edge; without flip red is left."""
    for part, count in (("train", 40), ("val", 1)):
        folder = tmp_path / part / "one"
        folder.mkdir(parents=True)
        (tmp_path / part / "two").mkdir()
        pixels = np.zeros((64, 64, 3), dtype=np.uint8)
        pixels[:, :32, 0], pixels[:, 32:, 2] = 255, 255
        for i in range(count):
            Image.fromarray(pixels).save(folder / f"{i}.png")
            Image.fromarray(pixels).save(tmp_path / part / "two" / f"{i}.png")
    for flip in (False, True):
        data = load(DataSpec(root=str(tmp_path), flip=flip, **IMAGENET))
        (images,) = data.train.decode([torch.arange(len(data.train))], epoch=1)
        red = images[:, 0].float().mean(1)  # [N, columns]
        assert ((red[:, 1:] > red[:, :-1] + 4).any(1).float().mean() > 0.2) == flip, "red to the right of blue"
        assert (red[:, :1] > 200).any()
        assert (images[:, 1] == 0).all()


def test_worker_processes_give_what_the_training_process_gives(folder):
    plain = DataSpec(root=str(folder), flip=True, mixup_alpha=0.2, cutout_pixels=8, **IMAGENET)
    spec = plain.model_copy(update={"decode_workers": 2})
    here, there = load(plain), load(spec)
    half = train_batches(there.train, spec, [6, 6, 6], seed=3, epoch=1, rank=0, workers=1, classes=3, mean=here.mean)
    next(half)
    half.close()  # what was abandoned must not turn up in the next epoch
    for epoch in (1, 2):
        for (images, targets), (expected, labels) in zip(
            train(there, spec, epoch=epoch), train(here, plain, epoch=epoch), strict=True
        ):
            assert torch.equal(images, expected)
            assert torch.equal(targets, labels)
        images, labels = everything(evaluation_batches(there.validation, 1, 2))
        expected, true = everything(evaluation_batches(here.validation, 1, 2))
        assert torch.equal(images, expected)
        assert torch.equal(labels, true)
    broken = folder / "val" / "bee" / "bee_00.JPEG"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(DataError) as caught:
        list(evaluation_batches(there.test, 0, 1))
    last = str(caught.value).strip().splitlines()[-1]
    assert last.endswith(f"data.root: must hold images that can be read, got {broken}")


DECODES_UNTIL_KILLED = """
import multiprocessing, signal, sys
from dks_study.training.data import evaluation_batches, load
from dks_study.spec.data import DataSpec

if __name__ == "__main__":
    spec = DataSpec(name="imagenet", root=sys.argv[1], image_pixels=32, decode_workers=1, validation_fraction=0.25)
    next(evaluation_batches(load(spec).test, 0, 1))
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    signal.pause()
"""


@pytest.mark.slow
def test_decoding_processes_end_with_a_training_process_that_is_killed(folder):
    script = folder / "decodes.py"
    script.write_text(DECODES_UNTIL_KILLED)
    with subprocess.Popen([sys.executable, script, folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as train:
        decoders = [psutil.Process(int(pid)) for pid in train.stdout.readline().split()]
        assert len(decoders) == 1
        train.kill()
    deadline = time.monotonic() + 10
    while any(decoder.is_running() and decoder.status() != psutil.STATUS_ZOMBIE for decoder in decoders):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("part", ["test", "val"])
def test_an_image_folder_lives_in_memory(tmp_path, part):
    write_folders(tmp_path, size=(12, 10), parts=("train", part), suffix="png")
    data = load(DataSpec(name="image_folder", root=str(tmp_path), validation_fraction=0.25))
    assert data.image_shape == (3, 10, 12)
    expected = [transforms.PILToTensor()(Image.open(path)) for path, _ in files_of(tmp_path, part)]
    assert torch.equal(data.test.images, torch.stack(expected))
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    images = data.normalise(data.train.images)
    assert images.mean((0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-5)


def test_pictures_in_memory_are_brought_to_one_size(folder):
    with pytest.raises(DataError, match=r"^data\.image_pixels: must be given, as images differ in size: \d+ x \d+ and"):
        load(DataSpec(name="image_folder", root=str(folder), validation_fraction=0.25))
    data = load(DataSpec(name="image_folder", root=str(folder), validation_fraction=0.25, image_pixels=24))
    slow = transforms.Compose([transforms.Resize(24), transforms.CenterCrop(24), transforms.PILToTensor()])
    expected = [slow(Image.open(path)) for path, _ in files_of(folder, "val")]
    assert torch.equal(data.test.images, torch.stack(expected))


@pytest.mark.parametrize("size", [(700, 20), (20, 720), (640, 40), (30, 30)])
def test_the_ends_of_long_pictures_change_no_pixel_of_the_middle(size):
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    slow = by_torchvision(28, "torchvision")
    assert torch.equal(View(28, "torchvision", flip=False).evaluating()(picture), slow(picture))
    assert max(without_ends(picture).size) <= 16 * min(size) + 1


def test_a_picture_that_is_a_line_is_read_in_little_memory():
    line = Image.new("RGB", (60_000, 1), (1, 2, 3))  # resized whole to a side of 256 it would take 12 GB
    image = View(224, "torchvision", flip=False).evaluating()(line)
    assert image.shape == (3, 224, 224)
    assert image.unique().tolist() == [1, 2, 3]
    assert Shape(224)(line, "line.png").unique().tolist() == [1, 2, 3]


def test_a_folder_may_be_decoded_on_the_fly(folder):
    values = {"name": "image_folder", "root": str(folder), "validation_fraction": 0.25, "image_pixels": 32}
    spec = DataSpec(**values, in_memory=False, flip=True)
    data, imagenet = load(spec), load(DataSpec(root=str(folder), flip=True, **IMAGENET))
    for (images, labels), (expected, true) in zip(train(data, spec), train(imagenet, spec), strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, true)


def test_grey_and_palette_files_become_colour(tmp_path):
    write_folders(tmp_path, size=(9, 9), suffix="png")
    path = tmp_path / "val" / "ant" / "ant_00.png"
    grey = Image.open(path).convert("L")
    grey.save(path)
    data = load(DataSpec(name="image_folder", root=str(tmp_path), validation_fraction=0.25))
    assert data.test.images[0].tolist() == [np.asarray(grey).tolist()] * 3


def test_what_is_wrong_with_a_folder_is_said_in_one_line(tmp_path, folder):
    def message(root, **values):
        read_and_split.cache_clear()
        with pytest.raises(DataError, match=r"^data\.root: must h") as caught:
            load(DataSpec(**{"name": "imagenet", "root": str(root), "validation_fraction": 0.25} | values))
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    assert "must hold folders train/CLASS and val/CLASS, got" in message(tmp_path / "nowhere")
    assert "train/CLASS and test/CLASS or val/CLASS" in message(tmp_path / "nowhere", name="image_folder")
    (folder / "val" / "cow").mkdir()
    assert "must hold images in val/CLASS, got " in message(folder)
    (folder / "val" / "cow" / "picture.png").write_bytes(b"no picture")
    assert message(folder).endswith("the same classes in train and val, got 'cow' in one")
    (folder / "train" / "cow").mkdir()
    (folder / "train" / "cow" / "picture.png").write_bytes(b"no picture")
    assert "images that can be read, got " in message(folder, name="image_folder", image_pixels=8)
    (folder / "train").rename(folder / "training")
    assert "must hold images in train/CLASS, got " in message(folder)
