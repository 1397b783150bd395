"""What one more trial costs besides its training, `workers: 0`, and whether that grows with the trials that are done.

A study of one arm, one trial at a time, through the real `run_study`: `--searches` trials of a search by TPE, then
`--seeds` confirmations. Its trials train nothing: the time from one trial's end to the next one's is their cost.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring.alternating import machine

from dks_study.engine.ray_settings import use_ray_settings

use_ray_settings(alone=True)

from measuring.instant import Clock, gaps_ms, instant_study, parts_ms, run_instant  # noqa: E402

PART = 100  # trials that are compared: the first of a phase, and the last


def line(name: str, values: Sequence[float]) -> str:
    """Return a line of a table: median and range."""
    middle = statistics.median(values)
    return f"| {name} | {middle:.1f} | {min(values):.1f} to {max(values):.1f} | {len(values)} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    study = instant_study(options.searches, options.seeds, cpus_per_worker=os.cpu_count() or 1)
    clock, before = Clock(), machine()
    with tempfile.TemporaryDirectory(prefix="dks-") as folder:
        run_instant(study, Path(folder) / "study", clock)
    gaps = gaps_ms(clock.of("end"))
    search, confirmation = gaps[: options.searches - 1], gaps[options.searches :]
    print(f"{before}; at the end: {machine()}")
    print("| from one end to the next | median (ms) | range | n |\n|---|---|---|---|")
    print(line(f"first {PART} of the search", search[:PART]))
    print(line(f"last {PART} of the search", search[-PART:]))
    print(line("confirmation", confirmation))
    for name, values in parts_ms(clock.moments).items():
        print(line(f"of all: {name}", values))
    last, first = (statistics.median(part) for part in (search[-PART:], search[:PART]))
    print(f"target: at most 150 ms; last / first: {last / first:.2f}")


if __name__ == "__main__":
    main()
