"""What looking at the data costs before a study starts: python benchmarks/fingerprint.py.

60,000 JPEG files of 32x32 in ten classes are written into a temporary folder, and looked at

- for the first time: hashed, and as for decoding on the fly also opened;
- again, when nothing has changed: listed, and compared with what is remembered;
- again, in a process of its own, as when another study begins;
- in memory: the pixels of 60,000 images of 32x32 hashed and compared, which every study of a set in memory does.

And the same for digits, which the default study trains on. Files are in the cache of the operating system.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from measuring.alternating import machine
from measuring.setups import made_up
from PIL import Image

from dks_study.spec.data import DataSpec
from dks_study.training.data import Split, checking
from dks_study.training.data.fingerprint import contents_of, fingerprint
from dks_study.training.data.loading import pixel_hashes

CLASSES, FILES, SIDE = 10, 60_000, 32
SETTLE_S = 3.0  # files that have changed just now are not remembered
TARGET_S = 2.0
ROOT = Path(__file__).resolve().parent.parent
ALONE = """
import sys, time
from dks_study.spec.data import DataSpec
from dks_study.training.data.fingerprint import contents_of, fingerprint
started = time.perf_counter()
fingerprint(contents_of(DataSpec(name="image_folder", root=sys.argv[1], in_memory=False, image_pixels=32)))
print(time.perf_counter() - started)
"""


def write_pictures(root: Path, files: int = FILES) -> DataSpec:
    """Write so many files, a sixth of them for the test; return what describes them."""
    random = np.random.default_rng(0)
    for number in range(files):
        part, name = ("test" if number % 6 == 5 else "train"), f"class{number // 6 % CLASSES}"
        folder = root / part / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06}.jpg", quality=75)
    return DataSpec(name="image_folder", root=str(root), in_memory=False, image_pixels=SIDE)


def seconds(action: Callable[[], object]) -> tuple[float, float]:
    """Return how long it took, and its CPU time."""
    started, used = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - started, time.process_time() - used


def in_memory(images: int = FILES) -> Callable[[], object]:
    """Return what hashes and compares the pixels of images in memory."""
    train = made_up(images, side=SIDE).train
    assert isinstance(train, Split)
    splits, names = np.zeros(images, dtype=np.int64), [str(number) for number in range(images)]
    return lambda: checking.copies_among(np.array(pixel_hashes(train)), splits, train.labels.numpy(), names)


def look_at_digits() -> object:
    """What the default study does before it trains, besides loading its data."""
    spec = DataSpec(name="digits")
    contents = contents_of(spec)
    return fingerprint(contents), checking.found_in(spec, contents)


def show(name: str, times: list[tuple[float, float]]) -> None:
    """Print median and range of seconds, and the median CPU time."""
    wall, cpu = [each[0] for each in times], median(each[1] for each in times)
    print(f"{name}: {median(wall):.3f} s ({min(wall):.3f} to {max(wall):.3f}), CPU time {cpu:.3f} s, n {len(times)}")


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = f"{scratch}/cache"
        spec = write_pictures(Path(scratch, "pictures"))
        time.sleep(SETTLE_S)
        hashed = spec.model_copy(update={"in_memory": True})
        show("first time, hashed", [seconds(lambda: fingerprint(contents_of(hashed)))])
        show("first time, opened, too", [seconds(lambda: fingerprint(contents_of(spec)))])
        show("again", [seconds(lambda: fingerprint(contents_of(spec))) for _ in range(rounds)])
        command = [sys.executable, "-c", ALONE, str(spec.root)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        alone = [float(subprocess.check_output(command, env=environment, text=True)) for _ in range(rounds)]
        print(
            f"again, in a new process: {median(alone):.3f} s ({min(alone):.3f} to {max(alone):.3f}), target {TARGET_S}"
        )
    compare = in_memory()
    show("pixels of 60,000 images in memory", [seconds(compare) for _ in range(rounds)])
    look_at_digits()  # loads them
    show("digits, once loaded", [seconds(look_at_digits) for _ in range(rounds)])


if __name__ == "__main__":
    main()
