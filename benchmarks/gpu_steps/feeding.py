"""Images per second that reach the device, moved and normalised: from memory, and decoded from files."""

import json
import os
import shutil
import statistics
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measuring.loops import input_batches
from measuring.on_device import seconds_on
from measuring.setups import made_up
from PIL import Image

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataSet, load
from gpu_steps.saying import Table, Verdicts, asked, device_of, say

BATCH, ROUNDS = 128, 5
SMALL_IMAGES = {"name": "cifar100", "root": "none", "flip": True, "crop_pad_pixels": 4}
CLASSES = ("ant", "bee")
PIXELS, EPOCHS = 224, 3
PREFETCHED = 2  # batches that each decoding process has ready, by PyTorch's default
SHARED = Path("/dev/shm")  # batches come from the decoding processes through it


def write_pictures(root: Path, count: int, copies: int) -> None:
    """Write JPEG files of 256x256 in two classes: `count` of each to train on, and two of each to test with.

    Each of the former is there under `copies` names.
    """
    random = np.random.default_rng(0)
    for part, images in {"train": count, "val": 2}.items():
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for number in range(images):
                coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
                path = root / part / name / f"{number}.jpeg"
                coarse.resize((256, 256)).save(path)
                for copy in range(1, copies if part == "train" else 1):
                    os.link(path, path.with_name(f"{number}-{copy}.jpeg"))


def measured(data: DataSet, spec: DataSpec, device: torch.device, batch: int, batches: int, rounds: int) -> list[str]:
    """Return what reaches the device in a second, as a cell: the median of rounds of `batches` after a first one."""
    there = replace(data, train=data.train.to(device))
    stream = input_batches(there, spec, batch)
    seconds_on(device, lambda: next(stream), batches)
    each = [batch / seconds_on(device, lambda: next(stream), batches) for _ in range(rounds)]
    middle, least, most = statistics.median(each), min(each), max(each)
    return [f"{middle:,.0f} ({least:,.0f} to {most:,.0f}, n {rounds} of {batches} batches)"]


def decoding_processes(cores: int, batch: int) -> int:
    """Return how many processes decode: a core is left, and what they have ready must fit into shared memory."""
    wanted = max(1, min(12, cores - 1))
    if not SHARED.is_dir():
        return wanted
    each = 2 * PREFETCHED * batch * 3 * PIXELS**2  # twice: as many again may be on their way
    free = shutil.disk_usage(SHARED).free
    fit = min(wanted, int(free / each))
    if fit < wanted:
        say(f"**{SHARED} is small**: {free / 2**20:,.0f} MiB are free; {fit} decoding processes instead of {wanted}.")
    return fit


def decoded(device: torch.device, workers: int, *, rehearse: bool) -> list[str]:
    """Return the same of files that `workers` processes decode, in whole epochs.

    Of a part of an epoch some batches would have been decoded before the clock runs.
    """
    batch, count, copies = (4, 16, 2) if rehearse else (BATCH, 512, 8)
    with tempfile.TemporaryDirectory(prefix="dks-") as root:
        write_pictures(Path(root), count, copies)
        values = {"name": "image_folder", "root": root, "in_memory": False, "image_pixels": PIXELS, "flip": True}
        spec = DataSpec.model_validate_json(json.dumps({**values, "decode_workers": workers}))
        data = load(spec)
        return measured(data, spec, device, batch, len(data.train) // batch, EPOCHS)


def main() -> None:
    """Measure three sources."""
    options = asked(__doc__)
    device, verdicts = device_of(options), Verdicts()
    cores = len(os.sched_getaffinity(0))
    small = DataSpec.model_validate_json(json.dumps(SMALL_IMAGES))
    say(f"Batches of {BATCH}, {cores} cores.")
    workers = decoding_processes(cores, BATCH)
    table = Table(verdicts, "images", "images per second, median (range, n)")
    for side, batches in ((32, 2 if options.rehearse else 20), (224, 2 if options.rehearse else 4)):
        data = made_up(batches * BATCH, side)
        title = f"{side}x{side}, in the device's memory, shifted and mirrored"
        table.attempt(title, partial(measured, data, small, device, BATCH, batches, ROUNDS))
    pictures = f"JPEG of 256x256 cropped to 224x224, {workers} decoding processes, pinned copies, whole epochs"
    if workers:
        table.attempt(pictures, partial(decoded, device, workers, rehearse=options.rehearse))
    else:
        table.add(pictures, f"not measured: too little room in {SHARED}")
    verdicts.end()


if __name__ == "__main__":
    main()
