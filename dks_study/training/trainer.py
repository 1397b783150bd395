"""How DKS trains: `fit` yields a report after every epoch. This file knows nothing of Ray.

Shapes: images uint8 [B, C, H, W]; logits by classifier name, each [B, classes]; targets int64 [B], or distributions
float32 [B, classes] where images are mixed.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dks_study.method.networks import Network, build_network, own_network, parts_of
from dks_study.method.observed import Seen
from dks_study.method.streams import derive, generator, seed_step
from dks_study.method.synergy import Objective, objective_for
from dks_study.spec.compute import Computation
from dks_study.spec.objectives import ACCURACY
from dks_study.spec.terms import term_names
from dks_study.spec.trial import TrialSpec
from dks_study.training.averaging import Average, OwnTeacher
from dks_study.training.checkpoint import State
from dks_study.training.compute import (
    compiled,
    lay_out,
    loss_scaler,
    peak_memory,
    place,
    precision,
    twice_differentiable,
)
from dks_study.training.cost import count_cost, count_exits
from dks_study.training.data import (
    AnySplit,
    DataSet,
    batch_sizes,
    evaluation_batches,
    train_batches,
    training_labels,
    validation_labels,
)
from dks_study.training.early_exits import Answers, exit_metrics
from dks_study.training.metrics import Tally
from dks_study.training.optim import build_optimiser, lr_at, prepare_step, take_step
from dks_study.training.predicting import Listener, Predicted, Predicting
from dks_study.training.team import Team, check_finite, share_buffers


@dataclass(frozen=True)
class EpochReport:
    """After `epoch` (1-based): flat metrics such as val/top1/main, and the state to go on from.

    Attributes:
        predicted: of the test images, after the last epoch of a confirmation, where they were asked for.
    """

    epoch: int
    metrics: dict[str, float]
    state: State
    predicted: Predicted | None = None


@dataclass(frozen=True)
class Chosen:
    """The epoch with the best validation accuracy so far, the last one of equals.

    Attributes:
        accuracy: validation top-1 of `main` after it, in percent.
        weights: what is evaluated after it, a copy: weights and buffers by name.
    """

    epoch: int
    accuracy: float
    weights: Mapping[str, Tensor]


@dataclass(frozen=True)
class Run:
    """The moving parts of one training run.

    Attributes:
        network: what is trained.
        model: `network`, or DDP around it, or either compiled: the same parameters.
        compute: how.
        average: of the weights of `network`, if the optimiser keeps one.
        own_teacher: if the teacher is the network itself at another time.
    """

    trial: TrialSpec
    data: DataSet
    team: Team
    compute: Computation
    network: Network
    model: nn.Module
    objective: Objective
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: Average | None
    own_teacher: OwnTeacher | None

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated, and whose weights ship."""
        return self.average.network if self.average else self.network

    def state(self, epoch: int) -> State:
        """Refer to the state after `epoch`; save it before the run goes on."""
        averaged = self.average.network.state_dict() if self.average else None
        parts = self.network.state_dict(), averaged, self.optimiser.state_dict(), self.scaler.state_dict()
        return State(self.trial.content_hash(), epoch, *parts, self.data.inputs)


def fit(
    trial: TrialSpec,
    data: DataSet,
    team: Team,
    resume: State | None = None,
    chosen: Chosen | None = None,
    *,
    costs: bool = False,
    predicting: Sequence[str] = (),
) -> Iterator[EpochReport]:
    """Train `trial` and yield a report after every epoch that is still to do, after `resume` with its `chosen` epoch.

    Test sets are looked at once, after the last epoch of a `confirm` trial, with the last epoch's weights (test/), the
    first one with those of the epoch that validation chose, too (test_chosen/; `chosen_epoch`). The last report of such
    a trial holds what the network costs, its early exits where `trial.exits` asks, and what the classifiers
    `predicting` say of every image of the first test set; that of a search trial costs where `costs` asks for them.

    Raises:
        NonFiniteLossError: if the training loss is not finite; checked once per epoch, so the device is never
            waited for inside one.
        ValueError: if a confirmation is to go on without its chosen epoch.
    """
    if trial.phase == "confirm" and resume and chosen is None:
        raise ValueError("a confirmation goes on with the epoch that validation chose until then, got none")
    if team.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(team.device)
    run = _prepare(trial, data, team, resume)
    asked = ("val", "test") if trial.exits and trial.phase == "confirm" else ()
    predictions = Predicting(tuple(predicting))
    for epoch in range(resume.epoch + 1 if resume else 1, trial.epochs + 1):
        metrics = _train_epoch(run, epoch)
        answers = {split: Answers(own_network(run.network).names) for split in asked if epoch == trial.epochs}
        metrics |= _evaluate(run, run.evaluated, run.data.validation, "val", answers.get("val"))
        if trial.phase == "confirm":
            chosen = _better(chosen, run, epoch, metrics[ACCURACY])
            if epoch == trial.epochs:
                metrics |= _test(run, chosen, answers.get("test"), predictions)
            if answers:
                costs_of = count_exits(own_network(run.network), data.image_shape)
                metrics |= exit_metrics(costs_of, *(each.read(team.size) for each in answers.values()))
        if epoch == trial.epochs and (costs or trial.phase == "confirm"):
            metrics |= _cost(run) | peak_memory(team.device)
        asked_for = predicting and trial.phase == "confirm" and epoch == trial.epochs
        predicted = predictions.read(team.rank, team.size) if asked_for else None
        yield EpochReport(epoch, metrics, run.state(epoch), predicted)


def _better(chosen: Chosen | None, run: Run, epoch: int, accuracy: float) -> Chosen:
    """Return the epoch that validation chooses, now that there is one more."""
    if chosen is not None and accuracy < chosen.accuracy:
        return chosen
    weights = {name: value.clone() for name, value in run.evaluated.state_dict().items()}
    return Chosen(epoch, accuracy, weights)


def _test(run: Run, chosen: Chosen, *listeners: Listener | None) -> dict[str, float]:
    """Evaluate the last epoch's weights, which `listeners` hear, and the chosen epoch's; on further sets the last's."""
    last = _evaluate(run, run.evaluated, run.data.test, "test", *listeners)
    if chosen.epoch == run.trial.epochs:  # the same weights: nothing is looked at twice
        best = {name.replace("test/", "test_chosen/", 1): value for name, value in last.items()}
    else:
        network = deepcopy(run.evaluated)  # the state of this epoch is still to be saved
        network.load_state_dict(chosen.weights)
        best = _evaluate(run, network, run.data.test, "test_chosen")
    for name, split in run.data.tests.items():
        best |= _evaluate(run, run.evaluated, split.to(run.team.device), f"test_{name}")
    return last | best | {"chosen_epoch": float(chosen.epoch)}


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
    if run.own_teacher:
        run.own_teacher.begin_epoch()
    for step, (images, targets) in enumerate(batches):
        done, steps = (epoch - 1) * len(sizes) + step, trial.epochs * len(sizes)
        prepare_step(run.optimiser, trial.optimiser, done, steps)
        # Dropout draws from the global stream: a function of seed and step, the same for every arm.
        seed_step(team.device, derive(trial.seed, "forward", epoch, step, team.rank))
        loss = torch.zeros((), device=team.device)
        parts = _parts(trial.optimiser.accumulate, sizes[step] // team.size)
        for part, (x, y) in enumerate(zip(images.tensor_split(parts), targets.tensor_split(parts), strict=True), 1):
            with _averaged_gradients(run.model, part == parts):
                (logits, features), shown = _forward(run, run.model, x)
                draws = generator(trial.seed, "pairs", epoch, step) if trial.loss.draws else None
                terms = run.objective(logits, y, done / steps, draws, features, shown)
                # DDP averages gradients over workers; shares may differ by one image, the mean is over images.
                share = terms.total * (len(y) * team.size / sizes[step])
                run.scaler.scale(share).backward()  # type: ignore[no-untyped-call]
            tally.add(terms, logits, y)
            loss += share.detach()
        take_step(run.optimiser, run.scaler, trial.optimiser)
        if run.average:
            run.average.update()
        if run.own_teacher:
            run.own_teacher.follow_step()
        losses.append(loss)
    metrics = tally.read("train")
    check_finite(torch.stack(losses), epoch)
    seconds = time.perf_counter() - started
    lr = lr_at(trial.optimiser, done / steps)
    return metrics | {"train/lr": lr, "time/train_s": seconds, "train/images_per_s": sum(sizes) / seconds}


@torch.inference_mode()
def _evaluate(
    run: Run, network: nn.Module, split: AnySplit, prefix: str, *listeners: Listener | None
) -> dict[str, float]:
    network.eval()
    share_buffers(network, run.team)
    tally = _tally(run)
    for images, targets in evaluation_batches(split, run.team.rank, run.team.size):
        (logits, features), shown = _forward(run, network, images)
        tally.add(run.objective(logits, targets, features=features, images=shown), logits, targets)
        for listener in filter(None, listeners):
            listener.add(logits, targets)
    return tally.read(prefix)


def _prepare(trial: TrialSpec, data: DataSet, team: Team, resume: State | None) -> Run:
    channels, *pixels = data.image_shape
    network = build_network(trial, channels, data.classes, trial.seed, (pixels[0], pixels[1]))
    compute = trial.compute.chosen(on_gpu=team.device.type == "cuda")
    network = place(network, compute, team.device)
    on_device = replace(
        data,
        train=data.train.with_labels(training_labels(data, trial.data, trial.seed)).to(team.device),
        validation=data.validation.with_labels(validation_labels(data, trial.data)).to(team.device),
        test=data.test.to(team.device),
    )
    optimiser = build_optimiser(network.parameters(), trial.optimiser, parts_of(network))
    scaler = loss_scaler(compute, team.device)
    average = Average(network, trial.optimiser.ema_decay) if trial.optimiser.ema_decay else None
    own_teacher = OwnTeacher(trial.teacher, network) if trial.teacher and trial.teacher.own else None
    if resume:
        network.load_state_dict(resume.network)
        optimiser.load_state_dict(resume.optimiser)
        scaler.load_state_dict(resume.scaler)
        if average and resume.averaged:
            average.network.load_state_dict(resume.averaged)
    model = compiled(DistributedDataParallel(network) if team.size > 1 else network, compute)
    objective = objective_for(trial.loss, trial.classifiers)
    return Run(trial, on_device, team, compute, network, model, objective, optimiser, scaler, average, own_teacher)


def _forward(run: Run, model: nn.Module, images: Tensor) -> tuple[Seen, Tensor]:
    """Return what a network shows of images uint8 [B, C, H, W], and what it was shown: the same, normalised."""
    with precision(run.compute, run.team.device), twice_differentiable(run.trial.loss.of_images):
        x = lay_out(run.data.normalise(images), run.compute)
        found: Seen | dict[str, Tensor] = model(x.requires_grad_() if run.trial.loss.of_images else x)
    return found if isinstance(found, Seen) else Seen(found, {}), x


def _parts(accumulate: int, images: int) -> int:
    """Return in how many parts a worker's `images` are trained: at least two in each, for batch norm's sake."""
    return max(1, min(accumulate, images // 2))


def _averaged_gradients(model: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Let DDP average gradients over workers in the `last` part of a batch alone: they add up until then."""
    return nullcontext() if last or not hasattr(model, "no_sync") else model.no_sync()  # type: ignore[operator]


def _tally(run: Run) -> Tally:
    names = run.trial.classifiers
    return Tally(names, run.data.classes, run.team.device, term_names(run.trial.loss.terms, names))


def _cost(run: Run) -> dict[str, float]:
    cost = count_cost(run.network, run.data.image_shape)
    return {f"cost/{name}": float(value) for name, value in vars(cost).items()}
