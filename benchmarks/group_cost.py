"""What one more trial with `workers: 1` costs, against a bare TorchTrainer in a Tune function, as in Ray's guide.

Both run one trial at a time on a Ray of their own that they start, both in turn. Ours goes through the real `run_study`
and does all but training; the bare one reports one number, with Ray's defaults. From one trial's end to the next one's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from measuring.alternating import alternate, machine, show

DASHBOARD_PORT = 18265  # of the bare side


def drive_ours(trials: int) -> list[float]:
    """Run trials through `run_study`; return when they ended, in seconds."""
    from dks_study.engine.ray_settings import use_ray_settings

    use_ray_settings(alone=True)
    from measuring.instant import Clock, instant_study, run_instant

    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="dks-") as folder:
        study = instant_study(0, trials, workers=1, cpus_per_worker=os.cpu_count() or 1)
        run_instant(study, Path(folder) / "study", clock)
    return [moment.wall_s for moment in clock.of("end")]


def drive_bare(trials: int) -> list[float]:
    """Run a function that builds a TorchTrainer under Tune; return when its trials ended, in seconds."""
    import ray
    import ray.train
    from ray import tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    ends: list[float] = []

    class Ends(tune.Callback):  # type: ignore[misc]  # Ray has no types
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: object, **info: object) -> None:
            ends.append(time.perf_counter())

    def train_loop(config: dict[str, Any]) -> None:
        ray.train.report({"loss": config["number"]})

    with tempfile.TemporaryDirectory(prefix="dks-", ignore_cleanup_errors=True) as folder:

        def trial(config: dict[str, Any]) -> None:
            run = ray.train.RunConfig(
                name=f"train-{tune.get_context().get_trial_id()}",
                storage_path=folder,
                callbacks=[TuneReportCallback()],
            )
            scale = ray.train.ScalingConfig(num_workers=1)
            TorchTrainer(train_loop, train_loop_config=config, scaling_config=scale, run_config=run).fit()

        # As run_study does: else Train's clean-up may wait for another Ray that is or was on this machine.
        os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{DASHBOARD_PORT}"
        ray.init(address="local", dashboard_host="127.0.0.1", dashboard_port=DASHBOARD_PORT)
        tuner = tune.Tuner(
            trial,
            param_space={"number": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=1),
            run_config=tune.RunConfig(name="bare", storage_path=folder, callbacks=[Ends()]),
        )
        tuner.fit()
        ray.shutdown()
    return ends


DRIVES = {"ours": drive_ours, "bare": drive_bare}


def costs_s(side: str, trials: int) -> list[float]:
    """Run one side in a process of its own; return the seconds from each trial's end to the next one's."""
    words = [sys.executable, __file__, "--drive", side, "--trials", str(trials)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return [after - before for before, after in pairwise(json.loads(done.stdout.splitlines()[-1]))]


def middle_s(side: str, costs: Sequence[float]) -> float:
    """Print what was measured; return the mean."""
    print(f"{side}: {', '.join(f'{cost:.1f}' for cost in costs)} s", flush=True)
    return sum(costs) / len(costs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--drive", choices=list(DRIVES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        print(json.dumps(DRIVES[options.drive](options.trials)))
        return
    print(machine(), flush=True)
    sides = {side: lambda side=side: middle_s(side, costs_s(side, options.trials)) for side in DRIVES}
    show(alternate(sides, options.rounds, warm_up=0), "ours", "bare", target=0.35, unit_s=1)
    print(machine())


if __name__ == "__main__":
    main()
