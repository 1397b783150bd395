"""Step time and memory by number format and memory layout: plain, DKS, and the published loop; one network.

Through `fit` on made-up images, with its validation of two of them: median of two epochs after a first one. The
published loop is PyTorch's default layout and SGD, with and without TF32.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from measuring.loops import ours, published
from measuring.on_device import forget_peak, peak_mib, seconds_on, use_tf32
from measuring.setups import made_up

from gpu_steps.networks import CASES, Case, case_of
from gpu_steps.saying import Verdicts, asked, device_of, header, row, say

EPOCHS = 2


@dataclass(frozen=True)
class Way:
    """How a step is computed."""

    title: str
    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False

    @property
    def compute(self) -> dict[str, object]:
        """The section of a trial."""
        return {"precision": self.precision, "channels_last": self.channels_last, "compile": self.compile}


HALVES = ("bfloat16", "float16")  # float16 with loss scaling
FULL = Way("float32"), Way("TF32", "tf32")
STEPS = (
    *FULL,
    *(Way(half, half) for half in HALVES),
    Way("TF32, channels_last", "tf32", channels_last=True),
    *(Way(f"{half}, channels_last", half, channels_last=True) for half in HALVES),
)
COMPILED = (Way("bfloat16, channels_last, compiled", "bfloat16", channels_last=True, compile=True),)


@dataclass(frozen=True)
class Step:
    """What a training step took."""

    ms: float
    peak_mib: float | None
    first_epoch_s: float

    def __str__(self) -> str:
        """Return it as a cell."""
        return f"{self.ms:.1f} ms" + ("" if self.peak_mib is None else f", {self.peak_mib:,.0f} MiB")


def measure(epoch: Callable[[], object], steps: int, device: torch.device) -> Step:
    """Measure a step of `epoch`, which trains so many."""
    forget_peak(device)
    first = seconds_on(device, epoch)
    seconds = statistics.median(seconds_on(device, epoch) for _ in range(EPOCHS))
    return Step(1e3 * seconds / steps, peak_mib(device), first)


def cells(case: Case, way: Way, device: torch.device) -> list[str]:
    """Return the row of one way: plain, DKS, and DKS over plain and over the published loop."""
    data = made_up(case.steps * case.batch, case.side_pixels)
    by = {
        name: measure(ours(case.trial(plain=plain, compute=way.compute), data, device), case.steps, device)
        for name, plain in {"plain": True, "DKS": False}.items()
    }
    theirs = None
    if way in FULL:
        loop = published(case.trial(plain=False, compute={}), data, device)
        use_tf32(way.precision == "tf32")
        theirs = measure(loop, case.steps, device)
    ratio = f"{by['DKS'].ms / by['plain'].ms:.2f}"
    first = f"{by['plain'].first_epoch_s:.1f} s, {by['DKS'].first_epoch_s:.1f} s"
    against = ["", ""] if theirs is None else [str(theirs), f"{by['DKS'].ms / theirs.ms:.2f}"]
    return [str(by["plain"]), str(by["DKS"]), ratio, *against, first]


def main() -> None:
    """Measure every way of one network."""
    options = asked(__doc__, network=list(CASES), ways=["steps", "compiled"])
    device, verdicts = device_of(options), Verdicts()
    case = case_of(options.network, rehearse=options.rehearse)
    say(f"{case.title}, batch {case.batch}, {case.side_pixels}x{case.side_pixels}, branches at two stages, dense.")
    header("a step", "plain", "DKS", "DKS / plain", "published loop", "DKS / published", "first epochs")
    for way in STEPS if options.ways == "steps" else COMPILED:
        row(way.title, *verdicts.attempt(lambda way=way: cells(case, way, device)))
    verdicts.end()


if __name__ == "__main__":
    main()
