"""What a trial costs the driver in a study of 2,000 trials against one of 200, on a simulated cluster of four nodes.

The nodes are on this machine, with one CPU each: four trials at a time, through the real `run_study`, which joins the
cluster. Each study has five arms, three quarters of its trials in searches by TPE, and a driver's process of its own.
Trials train nothing. What counts is the CPU time of the driver, all threads, which other work on the machine hardly
changes, from the first trial's end to the last one's.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from measuring.alternating import alternate, machine, show

from dks_study.engine.ray_settings import use_ray_settings

use_ray_settings(alone=True)  # the cluster listens on 127.0.0.1 alone

from measuring.instant import Clock, Moment, cost_s, instant_study, run_instant  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from dks_study.engine.session import Where  # noqa: E402

ARMS, NODES = 5, 4


def drive(trials: int, address: str) -> None:
    """Run one study; print the moments when its trials ended."""
    clock = Clock()
    seeds = trials // ARMS // 8  # each twice: as written and as tuned
    with tempfile.TemporaryDirectory(prefix="dks-") as folder:
        study = instant_study(trials // ARMS - 2 * seeds, seeds, arms=ARMS)
        run_instant(study, Path(folder) / "study", clock, Where(address))
    print(json.dumps([asdict(moment) for moment in clock.of("end")]))


def driven(trials: int, address: str) -> list[Moment]:
    """Run one study in a process of its own; return the moments when its trials ended."""
    words = [sys.executable, __file__, "--drive", str(trials), "--address", address]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    ends = [Moment(**fields) for fields in json.loads(done.stdout.splitlines()[-1])]
    parts = [ends[i : i + 200] for i in range(0, len(ends), 200)]
    rate = (len(ends) - 1) / (ends[-1].wall_s - ends[0].wall_s)
    print(f"{len(ends)} trials, {rate:.1f} per second; of each 200, the driver's CPU time per trial and its memory:")
    print(", ".join(f"{1e3 * cost_s(part):.1f} ms {part[-1].rss_mib:.0f} MiB" for part in parts), flush=True)
    return ends


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--drive", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive(options.drive, options.address)
        return
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        head = {"num_cpus": 1, "temp_dir": scratch, "dashboard_host": "127.0.0.1", "include_dashboard": True}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(NODES - 1):
                cluster.add_node(num_cpus=1)
            sides = {
                f"{trials} trials": lambda trials=trials: cost_s(driven(trials, cluster.address))
                for trials in (options.few, options.many)
            }
            seconds = alternate(sides, options.rounds, warm_up=0)
        finally:
            cluster.shutdown()
    show(seconds, f"{options.many} trials", f"{options.few} trials", target=1.3)
    print(machine())


if __name__ == "__main__":
    main()
