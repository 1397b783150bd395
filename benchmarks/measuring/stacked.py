"""Several seeds of one trial: one network after another, and as one stacked network (torch.func.vmap)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from dks_study.method.networks import Network, build_network
from dks_study.method.synergy import objective_for
from dks_study.spec.trial import TrialSpec
from dks_study.training.optim import build_optimiser

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Seeds:
    """So many seeds of `trial`, each with its own made-up images [B, C, H, W] of `shape` and with its own targets."""

    trial: TrialSpec
    count: int
    shape: tuple[int, int, int]
    classes: int
    dtype: torch.dtype = torch.float32
    device: torch.device = CPU

    def batches(self) -> tuple[Tensor, Tensor]:
        """Return images [S, B, C, H, W] and targets [S, B]."""
        random, size = torch.Generator().manual_seed(0), (self.count, self.trial.optimiser.batch_size)
        images = torch.randn(*size, *self.shape, generator=random, dtype=self.dtype)
        return images.to(self.device), torch.randint(0, self.classes, size, generator=random).to(self.device)

    def networks(self) -> list[Network]:
        """Return a network for each seed, in training mode."""
        built = (build_network(self.trial, self.shape[0], self.classes, seed) for seed in range(self.count))
        return [network.to(self.device, self.dtype).train() for network in built]


class Apart:
    """One network after another."""

    def __init__(self, seeds: Seeds) -> None:
        """Build networks and optimisers."""
        self._networks, (self._images, self._targets) = seeds.networks(), seeds.batches()
        self._objective = objective_for(seeds.trial.loss, seeds.trial.classifiers)
        self._optimisers = [build_optimiser(each.parameters(), seeds.trial.optimiser) for each in self._networks]

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
    """All networks as one whose weights have a dimension more: its convolutions are grouped ones."""

    def __init__(self, seeds: Seeds) -> None:
        """Stack the networks."""
        members, (self._images, self._targets) = seeds.networks(), seeds.batches()
        self._parameters, self._buffers = stack_module_state(list(members))
        self._objective = objective_for(seeds.trial.loss, seeds.trial.classifiers)
        self._optimiser = build_optimiser(list(self._parameters.values()), seeds.trial.optimiser)
        plain = members[0]

        def forward(parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
            logits: dict[str, Tensor] = functional_call(plain, (parameters, buffers), (images,))
            return logits

        self._forward = vmap(forward, randomness="different")

    def step(self) -> None:
        """Take a step; the sum of the losses gives each network its own gradient."""
        logits = self._forward(self._parameters, self._buffers, self._images)
        losses = [
            self._objective({name: each[seed] for name, each in logits.items()}, self._targets[seed]).total
            for seed in range(len(self._images))
        ]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._optimiser.zero_grad()

    def weights(self) -> dict[str, Tensor]:
        """Return parameters by name, [S, ...]."""
        return {name: each.detach() for name, each in self._parameters.items()}


def difference(seeds: Seeds, steps: int) -> tuple[bool, float]:
    """Return whether all weights are equal after so many steps, and by how much they differ at most."""
    apart, together = Apart(seeds), Together(seeds)
    for _ in range(steps):
        apart.step()
        together.step()
    pairs = [(each, together.weights()[name]) for name, each in apart.weights().items()]
    return all(torch.equal(*pair) for pair in pairs), max((a - b).abs().max().item() for a, b in pairs)
