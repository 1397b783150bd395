"""Is `colour_fast` a faster recipe than `colour`? python benchmarks/fast_recipe.py --root FOLDER.

The baseline of `does_it_help`, trained by both profiles on the same 2,000 images of an image folder at 32x32 with their
own labels, for several lengths in turn: test accuracy, and CPU time of training on one thread. An epoch's time is that
of those before the last, which looks at the test images; validation on a fiftieth of all images is in it.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean

import pandas as pd
import torch
from measuring.alternating import machine

from dks_study.spec.data import DataSpec
from dks_study.spec.files import load_study
from dks_study.spec.study import arm_trial
from dks_study.training.data import DataSet, load
from dks_study.training.team import Team
from dks_study.training.trainer import fit

SAME_DATA = ("trial.data.image_pixels=32", "trial.data.crop_pad_pixels=4", "trial.data.label_noise=0.0")
LENGTHS = {"colour": (3, 5, 15), "colour_fast": (4, 8, 15)}  # epochs, as written 15 and 8


def main() -> None:
    """Train every length of both recipes with every seed, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="root/train/CLASS/*, root/test/CLASS/*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    print(machine())
    lengths = [(profile, epochs) for profile, all_of_it in LENGTHS.items() for epochs in all_of_it]
    runs = [(options.root, seed, *each) for seed, each in product(range(options.seeds), lengths)]
    with ProcessPoolExecutor(options.processes) as pool:
        lines = pd.DataFrame(pool.map(trained, runs))
    table = lines.groupby(["recipe", "epochs"], sort=False)[["test accuracy (%)", "CPU time (s)"]]
    print(table.agg(["mean", "std", "min", "max", "count"]).round(2).to_string())


def trained(run: tuple[Path, int, str, int]) -> dict[str, object]:
    """Return the test accuracy of `main` after the last epoch, and the CPU time of training."""
    torch.set_num_threads(1)
    root, seed, profile, epochs = run
    sets = [*SAME_DATA, f"trial.data.root={root.absolute()}", f"trial.epochs={epochs}", "search.trials=0"]
    trial = arm_trial(
        load_study("does_it_help", profile, sets), "baseline", {}, epochs=epochs, phase="confirm", seed=seed
    )
    data, ends, metrics = _data(trial.data), [time.process_time()], dict[str, float]()
    for report in fit(trial, data, Team.here(torch.device("cpu"))):
        ends.append(time.process_time())
        metrics = dict(report.metrics)
    each_s = fmean(later - earlier for earlier, later in pairwise(ends[:-1]))
    found = {"test accuracy (%)": metrics["test/top1/main"], "CPU time (s)": each_s * epochs}
    return {"recipe": profile, "epochs": epochs, **found}


@cache
def _data(spec: DataSpec) -> DataSet:
    return load(spec)


if __name__ == "__main__":
    main()
