"""Folders of small pictures for tests."""

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "n01440764")


def smooth(random, width, height):
    """A picture with large and small structure, on which methods of resizing differ."""
    coarse = random.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    fine = random.integers(-20, 20, (height, width, 3))
    large = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((large + fine).clip(0, 255).astype(np.uint8))


def write_folders(root, count=8, size=None, parts=("train", "val"), suffix="JPEG"):
    """Write `count` pictures a class (a quarter of that outside train), of any size or (width, height) `size`."""
    random = np.random.default_rng(0)
    for part in parts:
        for name in CLASSES:
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count if part == "train" else max(1, count // 4)):
                width, height = size or (int(random.integers(40, 90)), int(random.integers(40, 90)))
                smooth(random, width, height).save(folder / f"{name}_{i:02d}.{suffix}")
    return root
