"""Would several seeds of one arm train faster together? python benchmarks/seeds_together.py.

ResNet-8 on digits with two branches, dense pairing, batch 128 (the default study): the forward and backward pass and
the optimiser's step of four seeds, one network after another, and as one stacked network (torch.func.vmap, which makes
grouped convolutions of the convolutions). Each seed has its own images. In turn, in one process: on one thread in CPU
time; on two threads in wall time, where the alternative to be beaten is two processes of one thread each.
"""

import time
from collections.abc import Callable

import torch
from measuring.alternating import alternate, machine, seconds_of, show
from measuring.setups import RESNET_8, trial_of
from measuring.stacked import Apart, Seeds, Together, difference

ROUNDS, SEEDS = 15, 4
TARGET = round(1 / 1.5, 3)
TRIAL = trial_of(RESNET_8)


def seeds(count: int, dtype: torch.dtype = torch.float32) -> Seeds:
    """Return so many seeds of the default study's network, each with digits that are made up."""
    return Seeds(TRIAL, count, (1, 8, 8), 10, dtype)


def main() -> None:
    """Compare weights, then times."""
    torch.set_num_threads(1)
    print(machine())
    for dtype in (torch.float64, torch.float32):
        equal, most = difference(seeds(2, dtype), steps=3)
        print(f"weights after three steps, {dtype}: {'equal' if equal else 'not equal'}, largest difference {most:.1e}")

    def timed(step: Callable[[], None], clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: seconds_of(step, 5, clock)

    print(f"\n{SEEDS} seeds, one thread, CPU time")
    sides = {"together": Together(seeds(SEEDS)).step, "one after another": Apart(seeds(SEEDS)).step}
    cpu = alternate({name: timed(step, time.process_time) for name, step in sides.items()}, ROUNDS)
    show(cpu, "together", "one after another", TARGET)

    print(f"\n{SEEDS} seeds, together on two threads against one after another on one, wall time; two processes of one "
          f"thread each would take half of the latter")  # fmt: skip

    def threaded(step: Callable[[], None], threads: int) -> Callable[[], float]:
        def measured() -> float:
            torch.set_num_threads(threads)
            return seconds_of(step, 5)

        return measured

    wall = {"together": threaded(sides["together"], 2), "one after another": threaded(sides["one after another"], 1)}
    show(alternate(wall, ROUNDS), "together", "one after another", round(TARGET / 2, 3))


if __name__ == "__main__":
    main()
