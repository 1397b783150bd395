"""Images per second that reach the device, moved and normalised: from memory, and decoded from files."""

import json
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measuring.loops import input_batches
from measuring.on_device import seconds_on
from measuring.setups import made_up
from PIL import Image

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataSet, load
from gpu_steps.saying import Verdicts, asked, device_of, header, row, say

BATCH, ROUNDS = 128, 5
SMALL_IMAGES = {"name": "cifar100", "root": "none", "flip": True, "crop_pad_pixels": 4}
CLASSES = ("ant", "bee")


def write_pictures(root: Path, count: int) -> None:
    """Write JPEG files of 256x256 in two classes: `count` of each to train on, and two of each to test with."""
    random = np.random.default_rng(0)
    for part, images in {"train": count, "val": 2}.items():
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for number in range(images):
                coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
                coarse.resize((256, 256)).save(root / part / name / f"{number}.jpeg")


def measured(data: DataSet, spec: DataSpec, device: torch.device, batch: int, batches: int) -> list[str]:
    """Return what reaches the device in a second, as a cell: the median of some rounds after a first one."""
    there = replace(data, train=data.train.to(device))
    stream = input_batches(there, spec, batch)
    seconds_on(device, lambda: next(stream), batches)
    each = [batch / seconds_on(device, lambda: next(stream), batches) for _ in range(ROUNDS)]
    return [f"{statistics.median(each):,.0f} ({min(each):,.0f} to {max(each):,.0f})"]


def decoded(device: torch.device, workers: int, *, rehearse: bool) -> list[str]:
    """Return the same of files that `workers` processes decode."""
    batch, count = (4, 16) if rehearse else (BATCH, 1024)
    with tempfile.TemporaryDirectory(prefix="dks-") as root:
        write_pictures(Path(root), count)
        values = {"name": "image_folder", "root": root, "in_memory": False, "image_pixels": 224, "flip": True}
        spec = DataSpec.model_validate_json(json.dumps({**values, "decode_workers": workers}))
        return measured(load(spec), spec, device, batch, 2 if rehearse else 10)


def main() -> None:
    """Measure three sources."""
    options = asked(__doc__)
    device, verdicts = device_of(options), Verdicts()
    cores = len(os.sched_getaffinity(0))
    small = DataSpec.model_validate_json(json.dumps(SMALL_IMAGES))
    batches = 2 if options.rehearse else 20
    say(f"Batches of {BATCH}, n {ROUNDS} of {batches} batches each, {cores} cores.")
    header("images", "images per second, median (range)")
    for side in (32, 224):
        data = made_up(batches * BATCH if side == 32 else 4 * BATCH, side)
        calls = batches if side == 32 else min(4, batches)
        row(
            f"{side}x{side}, in the device's memory, shifted and mirrored",
            *verdicts.attempt(lambda data=data, calls=calls: measured(data, small, device, BATCH, calls)),
        )
    workers = max(1, min(12, cores - 1))
    pictures = f"JPEG of 256x256 cropped to 224x224, {workers} decoding processes, pinned copies"
    row(pictures, *verdicts.attempt(lambda: decoded(device, workers, rehearse=options.rehearse)))
    verdicts.end()


if __name__ == "__main__":
    main()
