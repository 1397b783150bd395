"""How much of the default study's time on all cores is spent in training, from the moment Ray has started to the end.

Training is what happens in `trainer.fit`: the preparation of a trial, its epochs, validation after them, and the
test at its end. Not training: Ray's processes and imports, planning, reports, checkpoints and other files, cores
that wait for the last trials, tables and report, Ray's end. The command is the real one; it runs in this process.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from measuring.alternating import machine

from dks_study.engine.ray_settings import use_ray_settings

use_ray_settings(alone=True)

from measuring.timed import SPANS, Span, shares, timed_cell  # noqa: E402

from dks_study import cli  # noqa: E402
from dks_study.engine import joining, tuning  # noqa: E402

TARGET = 0.85


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="dense_vs_oneway.yaml")
    options = parser.parse_args()
    tuning.run_cell = timed_cell  # type: ignore[attr-defined]
    start_here, ready = joining._start_here, list[float]()

    def noted_start() -> str:
        address = start_here()
        ready.append(time.time())
        return address

    joining._start_here = noted_start
    before, started, cores = machine(), time.time(), os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="dks-") as folder:
        cli.main(["--space", options.space, "--results", folder])
        end = time.time()
        lines = [line for path in Path(folder).rglob(SPANS) for line in path.read_text().splitlines()]
    spans = [Span(**json.loads(line)) for line in lines]
    print(f"{before}; at the end: {machine()}")
    print(f"the command took {end - started:.1f} s, Ray was there after {ready[0] - started:.1f} s;")
    cpu_s = sum(span.cpu_s for span in spans)
    print(f"{len({span.process for span in spans})} processes trained, and used {cpu_s:.1f} CPU seconds in it")
    found = shares(spans, ready[0], end, cores)
    print("| core seconds | s | share |\n|---|---|---|")
    for name, seconds in found.items():
        print(f"| {name} | {seconds:.1f} | {seconds / found['all']:.3f} |")
    print(f"target: in training at least {TARGET} of all")


if __name__ == "__main__":
    main()
