"""What a trial costs the driver in a study of many trials against one of few, on a simulated cluster.

The nodes are on this machine, with one CPU each: as many trials at a time, through the real `run_study`, which joins
the cluster. Each study has a driver's process of its own, and by default five arms, three quarters of its trials in
searches, and one epoch a trial. Trials train nothing. What counts is the driver's memory and its CPU time, all threads,
which other work on the machine hardly changes, from the first trial's end to the last one's.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil
from measuring.alternating import alternate, machine, show

from dks_study.engine.ray_settings import use_ray_settings

use_ray_settings(alone=True)  # the cluster listens on 127.0.0.1 alone

from measuring.instant import Clock, Moment, cost_s, instant_study, run_instant, slope_kib  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from dks_study.engine.session import Where  # noqa: E402

FIRST = 200


def drive(trials: int, options: argparse.Namespace) -> None:
    """Run one study; print the moments when its trials ended."""
    clock, each = Clock(), trials // options.arms
    seeds = options.seeds or max(1, each // 8)  # each twice: as written and as tuned
    with tempfile.TemporaryDirectory(prefix="dks-") as folder:
        study = instant_study(each - 2 * seeds, seeds, options.arms, options.sampler, options.epochs)
        run_instant(study, Path(folder) / "study", clock, Where(options.address))
    print(json.dumps([asdict(moment) for moment in clock.of("end")]))


def driven(trials: int, options: argparse.Namespace, address: str) -> list[Moment]:
    """Run one study in a process of its own; return the moments when its trials ended."""
    words = [sys.executable, __file__, "--drive", str(trials), "--sampler", options.sampler, "--address", address]
    words += ["--arms", str(options.arms), "--epochs", str(options.epochs)]
    words += ["--seeds", str(options.seeds)] if options.seeds else []
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    ends = [Moment(**fields) for fields in json.loads(done.stdout.splitlines()[-1])]
    tell(ends, max(FIRST, trials // 10))
    return ends


def tell(ends: Sequence[Moment], each: int) -> None:
    """Print what `ends` say, by parts of so many trials each."""
    parts = [ends[i : i + each] for i in range(0, len(ends) - 1, each)]
    rate = (len(ends) - 1) / (ends[-1].wall_s - ends[0].wall_s)
    print(f"{len(ends)} trials, {rate:.1f} per second; of each {each}, the driver's CPU time per trial and its memory:")
    print(", ".join(f"{1e3 * cost_s(part):.1f} ms {part[-1].rss_mib:.0f} MiB" for part in parts))
    if len(ends) > FIRST:
        print(f"after the first {FIRST} trials {slope_kib(ends[FIRST - 1 :]):.1f} KiB of memory a trial", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 2000], help="trials of each study, few first")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--arms", type=int, default=5)
    parser.add_argument("--seeds", type=int, help="report seeds of each arm; else an eighth of its trials")
    parser.add_argument("--epochs", type=int, default=1, help="of each trial")
    parser.add_argument("--sampler", default="auto", help="that of the searches; auto is TPE")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--drive", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive(options.drive, options)
        return
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        free = psutil.virtual_memory().available
        head = {"num_cpus": 1, "temp_dir": scratch, "dashboard_host": "127.0.0.1", "include_dashboard": True}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(options.nodes - 1):
                cluster.add_node(num_cpus=1)
            taken = (free - psutil.virtual_memory().available) / 2**30
            print(f"{options.nodes} nodes take {taken:.1f} GiB before they train anything", flush=True)
            sides = {
                f"{size} trials": lambda size=size: cost_s(driven(size, options, cluster.address))
                for size in options.sizes
            }
            seconds = alternate(sides, options.rounds, warm_up=0)
        finally:
            cluster.shutdown()
    if len(options.sizes) > 1:
        show(seconds, f"{options.sizes[-1]} trials", f"{options.sizes[0]} trials", target=1.3)
    print(machine())


if __name__ == "__main__":
    main()
