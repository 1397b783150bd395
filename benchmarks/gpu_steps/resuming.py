"""A trial that ends in the middle and goes on from its checkpoint, on the device, against one that does not.

Convolutions of a GPU may add up in any order unless they are told not to, so that two runs of the same trial need not
be equal either: what they differ by is told. Told to be deterministic, all three must be equal, and that is judged.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from measuring.setups import RESNET_8, trial_of
from torch import Tensor

from dks_study.spec.trial import TrialSpec
from dks_study.study.trial import run_trial
from dks_study.training.checkpoint import load_state
from gpu_steps.saying import Verdicts, asked, device_of, say

EPOCHS, CUT_AFTER = 3, 2
FORMATS = "tf32", "float32", "bfloat16", "float16"
TIMED = ("time/", "per_s", "cost/peak")


class CutError(Exception):
    """Ends a trial in the middle."""


def train(trial: TrialSpec, folder: Path, device: torch.device, *, cut: bool) -> None:
    """Train `trial` in `folder`, in two attempts if it is `cut`."""

    def report(metrics: dict[str, float]) -> None:
        if cut and metrics["epoch"] == CUT_AFTER:
            raise CutError

    try:
        run_trial(trial, folder, device, report)
    except CutError:
        run_trial(trial, folder, device, lambda _: None)


def result(trial: TrialSpec, folder: Path) -> tuple[Mapping[str, Tensor], list[dict[str, float]]]:
    """Return the weights of the last checkpoint, and the epochs' metrics without times."""
    state = load_state(folder / "last.pt", trial.content_hash())
    assert state is not None, "the last checkpoint cannot be read"
    lines = [json.loads(line) for line in (folder / "epochs.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [{key: value for key, value in line.items() if not any(part in key for part in TIMED)} for line in lines]
    return state.network, told


def apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return by how much two sets of weights differ at most."""
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


def described(precision: str, device: torch.device) -> TrialSpec:
    """Return what is trained on `device`; on a CPU less of it."""
    small = {"backbone": {**RESNET_8["backbone"], "base_channels": 2}, "data": {"name": "digits", "train_images": 256}}
    there = small if device.type == "cpu" else {"resources": {"gpus_per_worker": 1}}
    return trial_of(RESNET_8, epochs=EPOCHS, phase="confirm", compute={"precision": precision}, **there)


def compare(precision: str, device: torch.device, verdicts: Verdicts, *, deterministic: bool) -> None:
    """Train three times, once cut, and compare."""
    trial = described(precision, device)
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    with tempfile.TemporaryDirectory(prefix="dks-") as folder:
        found = []
        for name in ("whole", "again", "cut"):
            train(trial, Path(folder, name), device, cut=name == "cut")
            found.append(result(trial, Path(folder, name)))
    (whole, lines), (again, _), (resumed, resumed_lines) = found
    chance, most = apart(whole, again), apart(whole, resumed)
    how = f"{precision}{', deterministic' if deterministic else ''}"
    far = f"weights differ by {most:.1e} at most (two uninterrupted runs: {chance:.1e})"
    if deterministic:
        verdicts.check(most == 0 and lines == resumed_lines, f"{how}: resumed, bit for bit the same; {far}")
    else:
        say(f"- not judged, {how}: resumed, {far}")


def main() -> None:
    """Compare in every number format."""
    options = asked(__doc__)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what cuBLAS wants to be deterministic
    device, verdicts = device_of(options), Verdicts()
    say(f"ResNet-8 on digits, two branches, dense: {EPOCHS} epochs, cut in the report of epoch {CUT_AFTER}.")
    say()
    for precision in ("float16",) if options.rehearse else FORMATS:
        for deterministic in (False, True):
            how = f"{precision}, {'deterministic' if deterministic else 'as it comes'}"
            verdicts.attempt(how, partial(compare, precision, device, verdicts, deterministic=deterministic))
    verdicts.end()


if __name__ == "__main__":
    main()
