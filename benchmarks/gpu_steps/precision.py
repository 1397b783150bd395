"""Step time and memory by number format and memory layout: plain, DKS, and the published loop; one network.

Through `fit` on made-up images, with its validation of two of them. Each side's first epoch (compilation is in it) and
its memory are said once they are known; then all sides take epochs in turn, as many as the step has time for: median of
the time of a training step, range and number of epochs, ratios round by round. Memory is what one side takes besides
the others. The published loop is PyTorch's default layout and SGD, with and without TF32.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from measuring.alternating import alternate, ratios
from measuring.loops import ours, published
from measuring.on_device import forget_peak, peak_mib, seconds_on, taken_mib
from measuring.setups import made_up

from dks_study.training.compute import round_products
from dks_study.training.data import DataSet
from gpu_steps.networks import CASES, Case, case_of
from gpu_steps.saying import Table, Verdicts, asked, device_of, left_s, say

LEAST_ROUNDS, MOST_ROUNDS = 3, 15
MARGIN_S = 5.0  # of a step's limit is kept
PAIRS = (("DKS", "plain"), ("DKS", "published"))
Epoch = Callable[[], object]


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
AUTO = Way("TF32, channels_last (auto)", "tf32", channels_last=True)  # what is chosen where nothing is said
STEPS = (
    AUTO,
    *(Way(f"{half}, channels_last", half, channels_last=True) for half in HALVES),
    *reversed(FULL),
    *(Way(half, half) for half in HALVES),
)
COMPILED = (
    Way("TF32, channels_last, compiled", "tf32", channels_last=True, compile=True),
    Way("bfloat16, channels_last, compiled", "bfloat16", channels_last=True, compile=True),
)


def builders(case: Case, way: Way, data: DataSet, device: torch.device) -> dict[str, Callable[[], Epoch]]:
    """Return by side what builds it: a function that trains an epoch."""
    trials = {name: case.trial(plain=name == "plain", compute=way.compute) for name in ("plain", "DKS")}
    sides: dict[str, Callable[[], Epoch]] = {name: partial(ours, each, data, device) for name, each in trials.items()}
    if way in FULL:

        def theirs() -> Epoch:
            round_products(way.precision == "tf32")
            return published(case.trial(plain=False, compute={}), data, device)

        sides["published"] = theirs
    return sides


def first_epoch(build: Callable[[], Epoch], device: torch.device, kept: Callable[[Epoch], None]) -> list[str]:
    """Build a side and train its first epoch; hand it to `kept`, and return what that took as a cell."""
    forget_peak(device)
    beside = taken_mib(device)
    epoch = build()
    seconds = seconds_on(device, epoch)
    kept(epoch)
    peak = peak_mib(device, beside)
    return [f"first epoch {seconds:.1f} s" + ("" if peak is None else f", peak memory {peak:,.0f} MiB")]


def in_turn(epochs: Mapping[str, Epoch], device: torch.device, until: float) -> dict[str, list[float]]:
    """Return the seconds of epochs of every side, in turn, until about the moment `until` of the monotonic clock."""
    sides = {name: partial(seconds_on, device, epoch) for name, epoch in epochs.items()}
    started = time.monotonic()
    first = alternate(sides, 1, warm_up=0)
    fit = (until - time.monotonic()) / max(1e-3, time.monotonic() - started)
    more = alternate(sides, int(min(MOST_ROUNDS, max(LEAST_ROUNDS, fit))) - 1, warm_up=0)
    return {name: first[name] + more[name] for name in sides}


def spread(values: Sequence[float], form: str) -> str:
    """Return median, range and number of some values, as a cell."""
    middle, least, most = (format(each, form) for each in (statistics.median(values), min(values), max(values)))
    return f"**{middle}** ({least} to {most}, n {len(values)})"


def measure(case: Case, way: Way, device: torch.device, table: Table, until: float) -> None:
    """Say the rows of one way."""
    steps = case.steps if way.precision == "float32" else case.fast_steps
    data = made_up(steps * case.batch, case.side_pixels)
    epochs: dict[str, Epoch] = {}
    for name, build in builders(case, way, data, device).items():
        keep = partial(epochs.__setitem__, name)
        table.attempt(f"{way.title} | {name}", partial(first_epoch, build, device, keep))
    seconds: dict[str, list[float]] = {}
    if epochs:
        table.attempt(f"{way.title} | in turn", lambda: [_said(in_turn(epochs, device, until), seconds)])
    for name, values in seconds.items():
        table.add(way.title, name, f"{spread([1e3 * each / steps for each in values], '.2f')} ms")
    for side, against in PAIRS:
        if {side, against} <= seconds.keys():
            table.add(way.title, f"{side} / {against}", spread(ratios(seconds, side, against), ".3f"))


def _said(measured: Mapping[str, list[float]], found: dict[str, list[float]]) -> str:
    found.update(measured)
    return "epochs: " + ", ".join(f"{name} {sum(values):.1f} s" for name, values in measured.items())


def main() -> None:
    """Measure every way of one network."""
    options = asked(__doc__, network=list(CASES), ways=["steps", "compiled"])
    device, verdicts = device_of(options), Verdicts()
    case = case_of(options.network, rehearse=options.rehearse)
    steps = f"epochs of {case.fast_steps} steps ({case.steps} in float32)"
    size = f"{case.side_pixels}x{case.side_pixels}"
    say(f"{case.title}, batch {case.batch}, {size}, branches at two stages, dense; {steps}.")
    table = Table(verdicts, "computed in", "what", "a training step: median (range, n epochs); or the first epoch")
    ways = STEPS if options.ways == "steps" else COMPILED
    for number, way in enumerate(ways):
        share = min(60.0, max(0.0, left_s() - MARGIN_S) / (len(ways) - number))
        verdicts.attempt(way.title, partial(measure, case, way, device, table, time.monotonic() + share))
    verdicts.end()


if __name__ == "__main__":
    main()
