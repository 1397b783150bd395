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
from measuring.setups import BATCH, RESNET_8, trial_of
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from dks_study.method.networks import Network, build_network
from dks_study.method.synergy import objective_for
from dks_study.training.optim import build_optimiser

ROUNDS, SEEDS = 15, 4
TARGET = round(1 / 1.5, 3)
TRIAL = trial_of(RESNET_8)


def batches(seeds: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return made-up images [S, B, 1, 8, 8] and targets [S, B]."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(seeds, BATCH, 1, 8, 8, generator=random, dtype=dtype)
    return images, torch.randint(0, 10, (seeds, BATCH), generator=random)


def networks(seeds: int, dtype: torch.dtype = torch.float32) -> list[Network]:
    """Return a network for each seed, in training mode."""
    return [build_network(TRIAL, 1, 10, seed).to(dtype).train() for seed in range(seeds)]


class Apart:
    """One network after another."""

    def __init__(self, seeds: int, dtype: torch.dtype = torch.float32) -> None:
        """Build networks and optimisers."""
        self._networks, (self._images, self._targets) = networks(seeds, dtype), batches(seeds, dtype)
        self._objective = objective_for(TRIAL.loss, TRIAL.classifiers)
        self._optimisers = [build_optimiser(each.parameters(), TRIAL.optimiser) for each in self._networks]

    def step(self) -> None:
        """Take a step with each of them."""
        parts = zip(self._networks, self._optimisers, self._images, self._targets, strict=True)
        for network, optimiser, images, targets in parts:
            self._objective(network(images), targets).total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()

    def weights(self) -> dict[str, Tensor]:
        """Return parameters by name, [S, ...]."""
        return stack_module_state(list(self._networks))[0]


class Together:
    """All networks as one whose weights have a dimension more."""

    def __init__(self, seeds: int, dtype: torch.dtype = torch.float32) -> None:
        """Stack the networks."""
        members, (self._images, self._targets) = networks(seeds, dtype), batches(seeds, dtype)
        self._parameters, self._buffers = stack_module_state(list(members))
        self._objective = objective_for(TRIAL.loss, TRIAL.classifiers)
        self._optimiser = build_optimiser(list(self._parameters.values()), TRIAL.optimiser)
        plain = members[0]

        def forward(parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
            logits: dict[str, Tensor] = functional_call(plain, (parameters, buffers), (images,))
            return logits

        self._forward = vmap(forward, randomness="different")

    def step(self) -> None:
        """Take a step; the sum of the losses gives each network its own gradient."""
        logits = self._forward(self._parameters, self._buffers, self._images)
        seeds = range(len(self._images))
        losses = [
            self._objective({name: each[seed] for name, each in logits.items()}, self._targets[seed]).total
            for seed in seeds
        ]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._optimiser.zero_grad()

    def weights(self) -> dict[str, Tensor]:
        """Return parameters by name, [S, ...]."""
        return {name: each.detach() for name, each in self._parameters.items()}


def difference(dtype: torch.dtype, steps: int) -> tuple[bool, float]:
    """Return whether all weights are equal after so many steps, and by how much they differ at most."""
    apart, together = Apart(2, dtype), Together(2, dtype)
    for _ in range(steps):
        apart.step()
        together.step()
    pairs = [(each, together.weights()[name]) for name, each in apart.weights().items()]
    return all(torch.equal(*pair) for pair in pairs), max((a - b).abs().max().item() for a, b in pairs)


def main() -> None:
    """Compare weights, then times."""
    torch.set_num_threads(1)
    print(machine())
    for dtype in (torch.float64, torch.float32):
        equal, most = difference(dtype, steps=3)
        print(f"weights after three steps, {dtype}: {'equal' if equal else 'not equal'}, largest difference {most:.1e}")

    def timed(step: Callable[[], None], clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: seconds_of(step, 5, clock)

    print(f"\n{SEEDS} seeds, one thread, CPU time")
    sides = {"together": Together(SEEDS).step, "one after another": Apart(SEEDS).step}
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
