"""Exponential moving averages of a network's weights (EMA), and the network at another time as its own teacher."""

from collections.abc import Container
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dks_study.method.networks import Frozen, Network, own_network, teacher_of
from dks_study.spec.cohort import TeacherSpec


class Average:
    """After every step a <- decay * a + (1 - decay) * w, from the initial weights on.

    Batch-norm means and variances are averaged like weights; counts of batches are copied. Unlike torch's AveragedModel
    this never waits for the device.

    Attributes:
        network: a network of its own in evaluation mode that holds the averages; it shares what is frozen in the other.
    """

    def __init__(self, network: nn.Module, decay: float, into: nn.Module | None = None) -> None:
        """Begin with the weights that `network` has now, or those of `into`, a copy of it; decay is in (0, 1)."""
        # A teacher that follows the network must teach what is evaluated as it is, and be averaged by itself alone.
        shared: dict[int, object] = {id(each): each for each in network.modules() if isinstance(each, Frozen)}
        self.network = deepcopy(network, shared).requires_grad_(False).eval() if into is None else into
        kept = {id(tensor) for each in network.modules() if isinstance(each, Frozen) for tensor in each.buffers()}
        trained = [parameter.requires_grad for parameter in network.parameters()]
        self._sources, self._source_counts = _floats_and_counts(network, trained, kept)
        self._averages, self._counts = _floats_and_counts(self.network, trained, kept)
        self._blend = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Take the network's present weights into the average."""
        self._blend(self._averages, self._sources, 0)
        if self._counts:
            torch._foreach_copy_(self._counts, self._source_counts)


class OwnTeacher:
    """The teacher that is the network itself at another time (`teacher.own`), kept at that time.

    Its weights are among those of what is trained, and so is its state.
    """

    def __init__(self, spec: TeacherSpec, network: Network) -> None:
        """Follow the own network in `network`, which has a teacher of the same kind."""
        self._own, teacher = own_network(network).backbone, teacher_of(network)
        assert teacher is not None
        self._teacher, self._spec = teacher, spec
        self._average = Average(self._own, spec.ema_decay, into=teacher) if spec.ema_decay else None

    def begin_epoch(self) -> None:
        """Be what the epoch before has left, if that is who teaches."""
        if self._spec.own == "last_epoch":
            self._teacher.load_state_dict(self._own.state_dict())

    def follow_step(self) -> None:
        """Take the network's present weights into the average, if that is who teaches."""
        if self._average:
            self._average.update()


def _floats_and_counts(
    network: nn.Module, trained: list[bool], kept: Container[int]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what is averaged (trained parameters and floating buffers) and the integer buffers, detached.

    Buffers whose ids are in `kept` are in neither.
    """
    parameters = [each.detach() for each, wanted in zip(network.parameters(), trained, strict=True) if wanted]
    buffers = [buffer for buffer in network.buffers() if id(buffer) not in kept]
    floats = [buffer for buffer in buffers if buffer.is_floating_point()]
    return parameters + floats, [buffer for buffer in buffers if not buffer.is_floating_point()]
