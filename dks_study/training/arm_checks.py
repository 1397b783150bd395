"""What can only be seen with the data loaded and the networks built: looked at before a study starts anything."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil
import torch
from torch.overrides import TorchFunctionMode

from dks_study.method.networks import Network, build_network
from dks_study.spec.base import Problem, in_one_line
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.trial import KeepPredictions, RunSpec
from dks_study.training.data import DataSet, batch_sizes, load
from dks_study.training.predicting import predicted_bytes

GIB = 2**30
_MOMENTS = {"sgd": 1, "adamw": 2}  # what the optimiser keeps of each weight


class StudyError(Problem, RuntimeError):
    """The study cannot start; the message is one line."""


def check_arms(study: StudySpec) -> dict[str, int]:
    """Load the data and build every arm's network without memory; return the size of a checkpoint in bytes by arm.

    Raises:
        DataError: if the data cannot be had, or leave no batch.
        StudyError: if the network of an arm cannot be built.
    """
    sizes = {}
    for arm in study.arms:
        run = arm_run(study, arm, {})
        data, optimiser = load(run.data), run.optimiser
        check_batches(run, data)
        if run.loss.teacher_signal == "wrong_classes" and data.classes == 2:
            rule = "must not be wrong_classes with two classes, of which one is wrong and nothing is permuted"
            raise StudyError(f"arms.{arm}: trial.loss.teacher_signal: {rule}, got 'wrong_classes'")
        network = hollow_network(arm, run, data)
        try:
            weights = sum(tensor.nbytes for tensor in network.state_dict().values())
        except (Exception, SystemExit) as error:  # whatever somebody's code may raise
            raise _not_usable(arm, run, error) from error
        copies = 1 + _MOMENTS[optimiser.name] + bool(optimiser.ema_decay)
        sizes[arm] = copies * weights
    return sizes


def check_memory(study: StudySpec, sizes: Mapping[str, int]) -> None:
    """Check that the networks fit in this machine's memory, in which all of a study's trials run.

    Each takes more than its checkpoint, `sizes` in bytes by arm: gradients and feature maps are not among that.

    Raises:
        StudyError: if that of an arm does not.
    """
    total = psutil.virtual_memory().total
    for arm, size in sizes.items():
        if size > total and not study.trial.resources.gpus:
            rule = f"must be a network that fits in this machine's memory ({total / GIB:.1f} GiB)"
            raise StudyError(f"arms.{arm}: trial.backbone: {rule}, got weights and moments of {size / GIB:.1f} GiB")


def check_batches(run: RunSpec, data: DataSet) -> None:
    """Check that the training images make a batch.

    Raises:
        DataError: if they do not.
    """
    optimiser = run.optimiser
    batch_sizes(len(data.train), optimiser.batch_size, optimiser.keep_partial_batch, max(1, run.resources.workers))


def prediction_sizes(study: StudySpec) -> dict[str, int]:
    """Return the size of the predictions that a confirmation keeps, in bytes by arm.

    Raises:
        DataError: if the data cannot be had.
    """
    return {arm: _prediction_bytes(arm_run(study, arm, {}), study.keep_predictions) for arm in study.arms}


def _prediction_bytes(run: RunSpec, keep: KeepPredictions) -> int:
    data, classifiers = load(run.data), len(run.predicting(keep))
    return predicted_bytes(classifiers, len(data.test), data.classes) if classifiers else 0


def hollow_network(arm: str, run: RunSpec, data: DataSet) -> Network:
    """Return the network of an arm without memory.

    Raises:
        StudyError: if it cannot be built.
    """
    try:
        with torch.device("meta"), _Undrawn():
            return build_network(run, data.image_shape[0], data.classes, 0, data.image_shape[1:])
    except ValueError as error:
        raise StudyError(f"arms.{arm}: trial.{error}") from error
    except SystemExit as error:  # of a network of one's own, at any place
        raise _not_usable(arm, run, error) from error


def _not_usable(arm: str, run: RunSpec, error: BaseException) -> StudyError:
    rule = "must be a network that can be built and read"
    return StudyError(f"arms.{arm}: trial.backbone.name: {rule}, got {run.backbone.name!r}: {in_one_line(error)}")


class _Undrawn(TorchFunctionMode):
    """Weights without memory are not drawn: PyTorch would import its compiler for that, for 1.5 s."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Carry out any function of PyTorch but those that draw fresh weights."""
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
