"""Folders of pictures with one oddity each, and pictures of every mode that a file can have."""

import shutil
import struct

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "owl")
SIDE = 16
ORIENTATION = 0x0112  # EXIF
STRIP_OFFSETS, STRIP_BYTES = 273, 279  # TIFF


def colours(seed=0, side=SIDE):
    """Random uint8 [side, side, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def write_plain(root, classes=CLASSES, images=8, parts=("train", "test")):
    """Write `images` different pictures a class and part; return the root."""
    for number, (part, name) in enumerate((part, name) for part in parts for name in classes):
        (root / part / name).mkdir(parents=True)
        for i in range(images):
            Image.fromarray(colours(1000 * number + i)).save(root / part / name / f"{i:03}.png")
    return root


def sixteen_bit(root):
    """A grey picture of 16 bits with a mean of half of what is possible."""
    pixels = np.random.default_rng(1).integers(0, 65536, (SIDE, SIDE)).astype(np.uint16)
    Image.fromarray(pixels).save(write_plain(root) / "train/dog/000.png")
    return pixels


def hidden_copy(root):
    """What Jupyter leaves in a folder that it has shown."""
    (write_plain(root) / "train/cat/.ipynb_checkpoints").mkdir()
    shutil.copy(root / "train/cat/001.png", root / "train/cat/.ipynb_checkpoints/001-checkpoint.png")
    shutil.copy(root / "train/cat/001.png", root / "train/cat/._001.png")


def hidden_class(root):
    """The same beside the classes."""
    for name in (".ipynb_checkpoints", "__MACOSX"):
        (root / "train" / name).mkdir(parents=True)
    write_plain(root)


def loop(root):
    """A link inside of a class to all classes."""
    (write_plain(root) / "train/cat/again").symlink_to(root / "train")


def one_class(root):
    """Nothing to tell apart."""
    write_plain(root, classes=("cat",))


def leak(root):
    """A training picture that is tested on, and one that is there twice."""
    write_plain(root)
    shutil.copy(root / "train/cat/003.png", root / "test/cat/zzz.png")
    shutil.copy(root / "train/dog/003.png", root / "train/dog/zzz.png")


def truncated(root):
    """Half of a file."""
    cut_in_half(write_plain(root) / "train/cat/001.png")


def cut_in_half(path):
    """Lose the second half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def damaged_exif(root):
    """Pictures that are read though Pillow warns: a tag that goes beyond the file; and a palette with alphas."""
    write_plain(root)
    beyond = b"Exif\0\0II*\0" + struct.pack("<IHHHII", 8, 5, ORIENTATION, 3, 65535, 16)
    Image.fromarray(colours(1)).save(root / "train/cat/photo.jpg", exif=beyond)
    Image.fromarray(colours(2)).quantize(16).save(root / "train/cat/icon.png", transparency=bytes(range(16)))


def damaged_lzw(root):
    """Pictures of which libtiff itself prints a line: what it is to unpack makes no sense."""
    path = write_plain(root) / "train/cat/scan.tif"
    Image.fromarray(colours(1)).save(path, compression="tiff_lzw")
    with Image.open(path) as picture:
        first, count = picture.tag_v2[STRIP_OFFSETS][0], picture.tag_v2[STRIP_BYTES][0]
    content = path.read_bytes()
    path.write_bytes(content[: first + count // 2] + b"\xff" * (count - count // 2) + content[first + count :])


def turned(root):
    """A photo that lies on its side: returns it upright, uint8 [side, side, 3], as the only one with EXIF."""
    write_plain(root)
    upright = colours(99_999)
    lying = Image.fromarray(np.rot90(upright))  # orientation 6: to be turned by 90 degrees clockwise
    exif = lying.getexif()
    exif[ORIENTATION] = 6
    lying.save(root / "train/cat/000.png", exif=exif)
    return upright
