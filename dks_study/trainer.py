"""How DKS trains: `fit` yields a report after every epoch. This file knows nothing of Ray.

Shapes: images uint8 [B, C, H, W]; logits by classifier name, each [B, classes]; targets int64 [B], or distributions
float32 [B, classes] where images are mixed.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dks_study.branches import BranchedNet, build_network
from dks_study.checkpoint import State
from dks_study.cost import count_cost
from dks_study.data import AnySplit, DataSet, batch_sizes, evaluation_batches, train_batches, training_labels
from dks_study.metrics import Tally
from dks_study.optim import build_optimiser, lr_at, set_lr
from dks_study.spec import TrialSpec
from dks_study.streams import derive, generator
from dks_study.synergy import Objective, objective_for


class NonFiniteLossError(ArithmeticError):
    """The training loss became infinite or NaN; the message names epoch and step."""


@dataclass(frozen=True)
class Team:
    """One process among those that train together, as torch.distributed knows it."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def here(cls, device: torch.device) -> "Team":
        """Return the team of this process: itself alone unless a process group was set up."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)
        return cls(0, 1, device)


@dataclass(frozen=True)
class EpochReport:
    """After `epoch` (1-based): flat metrics such as val/top1/main, and the state to go on from."""

    epoch: int
    metrics: dict[str, float]
    state: State


@dataclass(frozen=True)
class Run:
    """The moving parts of one training run; `model` is `network`, or DDP around it."""

    trial: TrialSpec
    data: DataSet
    team: Team
    network: BranchedNet
    model: nn.Module
    objective: Objective
    optimiser: torch.optim.Optimizer


def fit(trial: TrialSpec, data: DataSet, team: Team, resume: State | None = None) -> Iterator[EpochReport]:
    """Train `trial` and yield a report after every epoch that is still to do.

    The test set is looked at once, after the last epoch of a `confirm` trial.

    Raises:
        NonFiniteLossError: if the training loss is not finite; checked once per epoch, so the device is never
            waited for inside one.
    """
    run = _prepare(trial, data, team, resume)
    for epoch in range(resume.epoch + 1 if resume else 1, trial.epochs + 1):
        metrics = _train_epoch(run, epoch)
        metrics |= _evaluate(run, run.data.validation, "val")
        if trial.phase == "confirm" and epoch == trial.epochs:
            metrics |= _evaluate(run, run.data.test, "test") | _cost(run)
        yield EpochReport(epoch, metrics, State.of(trial.content_hash(), epoch, run.network, run.optimiser))


def _train_epoch(run: Run, epoch: int) -> dict[str, float]:
    trial, team = run.trial, run.team
    sizes = batch_sizes(len(run.data.train), trial.optimiser.batch_size, trial.optimiser.keep_partial_batch, team.size)
    batches = train_batches(
        run.data.train,
        trial.data,
        sizes,
        seed=trial.seed,
        epoch=epoch,
        rank=team.rank,
        workers=team.size,
        classes=run.data.classes,
        mean=run.data.mean,
    )
    tally, losses, started = _tally(run), [], time.perf_counter()
    run.model.train()
    for step, (images, targets) in enumerate(batches):
        progress = ((epoch - 1) * len(sizes) + step) / (trial.epochs * len(sizes))
        set_lr(run.optimiser, lr_at(trial.optimiser, progress))
        # Dropout draws from the global stream: a function of seed and step, the same for every arm.
        torch.manual_seed(derive(trial.seed, "forward", epoch, step, team.rank))
        logits = run.model(run.data.normalise(images))
        terms = run.objective(logits, targets, progress, generator(trial.seed, "pairs", epoch, step))
        # DDP averages gradients over workers; shares may differ by one image, the mean is over images.
        (terms.total * (len(targets) * team.size / sizes[step])).backward()  # type: ignore[no-untyped-call]
        run.optimiser.step()
        run.optimiser.zero_grad()
        tally.add(terms, logits, targets)
        losses.append(terms.total.detach())
    metrics = tally.read("train")
    _check_finite(torch.stack(losses), epoch)
    seconds = time.perf_counter() - started
    lr = run.optimiser.param_groups[0]["lr"]
    return metrics | {"train/lr": lr, "time/train_s": seconds, "train/images_per_s": sum(sizes) / seconds}


@torch.inference_mode()
def _evaluate(run: Run, split: AnySplit, prefix: str) -> dict[str, float]:
    _share_buffers(run)
    run.network.eval()
    tally = _tally(run)
    for images, targets in evaluation_batches(split, run.team.rank, run.team.size):
        logits = run.network(run.data.normalise(images))
        tally.add(run.objective(logits, targets), logits, targets)
    return tally.read(prefix)


def _prepare(trial: TrialSpec, data: DataSet, team: Team, resume: State | None) -> Run:
    network = build_network(trial, data.image_shape[0], data.classes, trial.seed).to(team.device)
    on_device = replace(
        data,
        train=data.train.with_labels(training_labels(data, trial.data, trial.seed)).to(team.device),
        validation=data.validation.to(team.device),
        test=data.test.to(team.device),
    )
    optimiser = build_optimiser(network.parameters(), trial.optimiser)
    if resume:
        network.load_state_dict(resume.network)
        optimiser.load_state_dict(resume.optimiser)
    model = DistributedDataParallel(network) if team.size > 1 else network
    objective = objective_for(trial.loss, trial.classifiers)
    return Run(trial, on_device, team, network, model, objective, optimiser)


def _tally(run: Run) -> Tally:
    return Tally(run.trial.classifiers, run.data.classes, run.team.device)


def _check_finite(losses: torch.Tensor, epoch: int) -> None:
    """Look at the losses [steps] of an epoch, at all workers' together: either all of them raise or none."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(losses)
    finite = torch.isfinite(losses)
    if not finite.all():
        step = int((~finite).nonzero()[0]) + 1
        raise NonFiniteLossError(f"the training loss is not finite in epoch {epoch}, step {step}")


def _share_buffers(run: Run) -> None:
    """Give every worker rank 0's batch-norm statistics: what is evaluated is what a checkpoint holds."""
    if run.team.size > 1:
        for buffer in run.network.buffers():
            torch.distributed.broadcast(buffer, src=0)


def _cost(run: Run) -> dict[str, float]:
    cost = count_cost(run.network, run.data.image_shape)
    return {f"cost/{name}": float(value) for name, value in vars(cost).items()}
