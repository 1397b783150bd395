"""An exponential moving average of a network's weights (EMA), beside the network that is trained."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """After every step a <- decay * a + (1 - decay) * w, from the initial weights on.

    Batch-norm means and variances are averaged like weights; counts of batches are copied. Unlike torch's AveragedModel
    this never waits for the device.

    Attributes:
        network: a network of its own in evaluation mode that holds the averages.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Begin with the weights that `network` has now; decay is in (0, 1)."""
        self.network = deepcopy(network).requires_grad_(False).eval()
        trained = [parameter.requires_grad for parameter in network.parameters()]
        self._sources, self._source_counts = _floats_and_counts(network, trained)
        self._averages, self._counts = _floats_and_counts(self.network, trained)
        self._blend = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Take the network's present weights into the average."""
        self._blend(self._averages, self._sources, 0)
        if self._counts:
            torch._foreach_copy_(self._counts, self._source_counts)


def _floats_and_counts(network: nn.Module, trained: list[bool]) -> tuple[list[Tensor], list[Tensor]]:
    """Return what is averaged (trained parameters and floating buffers) and the integer buffers, detached."""
    parameters = [each.detach() for each, wanted in zip(network.parameters(), trained, strict=True) if wanted]
    buffers = list(network.buffers())
    floats = [buffer for buffer in buffers if buffer.is_floating_point()]
    return parameters + floats, [buffer for buffer in buffers if not buffer.is_floating_point()]
