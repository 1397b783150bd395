"""What trains the next epoch of a trial: `fit`, and loops written by hand over the same batches."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from dks_study.method.networks import Network, build_network
from dks_study.method.synergy import objective_for
from dks_study.spec.data import DataSpec
from dks_study.spec.trial import TrialSpec
from dks_study.training.compute import lay_out, place
from dks_study.training.data import DataSet, batch_sizes, train_batches
from dks_study.training.optim import build_optimiser
from dks_study.training.team import Team
from dks_study.training.trainer import EpochReport, fit
from measuring.published import published_step
from measuring.setups import labelled

CPU = torch.device("cpu")


def ours(trial: TrialSpec, data: DataSet, device: torch.device = CPU) -> Callable[[], EpochReport]:
    """Return what trains the next epoch by `fit`."""
    run = fit(trial, data, Team.here(device))
    return lambda: next(run)


def bare(trial: TrialSpec, data: DataSet) -> Callable[[], Network]:
    """Return what trains the next epoch in a loop written by hand, with our loss and optimiser."""
    compute = trial.computation
    network = place(_network(trial, data), compute, CPU)
    optimiser = build_optimiser(network.parameters(), trial.optimiser)
    objective, epochs = objective_for(trial.loss, trial.classifiers), _epochs(trial, data, CPU)

    def epoch() -> Network:
        for images, targets in next(epochs):
            objective(network(lay_out(images, compute)), targets).total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
        return network

    return epoch


def published(trial: TrialSpec, data: DataSet, device: torch.device = CPU) -> Callable[[], Network]:
    """Return what trains the next epoch with the published loss, in PyTorch's default layout and with its SGD."""
    network = _network(trial, data).to(device)
    spec, epochs = trial.optimiser, _epochs(trial, data, device)
    optimiser = torch.optim.SGD(network.parameters(), spec.lr, spec.momentum, weight_decay=spec.weight_decay)

    def epoch() -> Network:
        published_step(network, optimiser, next(epochs))
        return network

    return epoch


def input_batches(data: DataSet, spec: DataSpec, batch_size: int) -> Iterator[Tensor]:
    """Yield float images [B, C, H, W] of one epoch after another, moved as `spec` says, where `data` are."""
    sizes = [batch_size] * (len(data.train) // batch_size)
    number = 0
    while True:
        number += 1
        for images, _ in train_batches(data.train, spec, sizes, seed=0, epoch=number, rank=0, workers=1):
            yield data.normalise(images)


def _network(trial: TrialSpec, data: DataSet) -> Network:
    channels, *pixels = data.image_shape
    return build_network(trial, channels, data.classes, trial.seed, (pixels[0], pixels[1])).train()


def _epochs(trial: TrialSpec, data: DataSet, device: torch.device) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
    """Yield the normalised batches of one epoch after another, the same as in `fit`."""
    train, number = labelled(data, trial).to(device), 0
    sizes = batch_sizes(len(train), trial.optimiser.batch_size, False, workers=1)
    while True:
        number += 1
        raw = train_batches(train, trial.data, sizes, seed=trial.seed, epoch=number, rank=0, workers=1)
        yield ((data.normalise(images), targets) for images, targets in raw)
