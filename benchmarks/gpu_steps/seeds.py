"""Four seeds as one stacked network against one after another, on the device: the question of seeds_together.py."""

import statistics
from functools import partial

import torch
from measuring.alternating import alternate, ratios
from measuring.on_device import forget_peak, peak_mib, seconds_on
from measuring.setups import CLASSES, RESNET_8, WRN_16_2, trial_of
from measuring.stacked import Apart, Seeds, Together, difference

from dks_study.training.compute import round_products
from gpu_steps.saying import Table, Verdicts, asked, device_of, say

SEEDS, ROUNDS, STEPS = 4, 5, 5
TARGET = 0.67


def peaks(seeds: Seeds) -> str:
    """Return what either side takes while it is alone, together first."""
    found = []
    for side in (Together, Apart):
        forget_peak(seeds.device)
        side(seeds).step()
        found.append(peak_mib(seeds.device))
    return ", ".join("not counted" if peak is None else f"{peak:,.0f} MiB" for peak in found)


def timed(seeds: Seeds) -> dict[str, list[float]]:
    """Return the seconds of a step of either side, in turn; both are gone afterwards."""
    sides = {"together": Together(seeds).step, "apart": Apart(seeds).step}
    measured = {name: (lambda step=step: seconds_on(seeds.device, step, STEPS)) for name, step in sides.items()}
    return alternate(measured, ROUNDS)


def cells(seeds: Seeds) -> list[str]:
    """Measure one network."""
    seconds = timed(seeds)
    each = ratios(seconds, "together", "apart")
    ms = [f"{1e3 * statistics.median(values):.2f}" for values in seconds.values()]
    return [*ms, f"**{statistics.median(each):.2f}** ({min(each):.2f} to {max(each):.2f})", peaks(seeds)]


def main() -> None:
    """Measure both networks."""
    options = asked(__doc__)
    device, verdicts = device_of(options), Verdicts()
    round_products(False)
    cases = {"ResNet-8, 1x8x8": Seeds(trial_of(RESNET_8), SEEDS, (1, 8, 8), 10, device=device)}
    if not options.rehearse:
        cases["WRN-16-2, 3x32x32"] = Seeds(trial_of(WRN_16_2), SEEDS, (3, 32, 32), CLASSES, device=device)
    exact = Seeds(trial_of(RESNET_8), 2, (1, 8, 8), 10, torch.float64, device)
    verdicts.check(difference(exact, steps=2)[1] < 1e-10, "float64: both ways take the same steps")
    say()
    say(f"{SEEDS} seeds, batch 128, float32, n {ROUNDS} of {STEPS} steps each; target {TARGET}.")
    table = Table(
        verdicts,
        "network",
        "together, ms",
        "one after another, ms",
        "ratio",
        "peak memory, together and one after another",
    )
    for title, seeds in cases.items():
        table.attempt(title, partial(cells, seeds))
    verdicts.end()


if __name__ == "__main__":
    main()
