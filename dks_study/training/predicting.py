"""What a trained network says of every test image: logits, collected over batches and over all workers.

Shapes: K classifiers, `main` last; N images in the order of the split; C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

OVERHEAD_BYTES = 2048  # names, headers and the archive: measured, 0.8 KB


def predicted_bytes(classifiers: int, images: int, classes: int) -> int:
    """Return how large the file with the predictions of a trial is at most."""
    return 4 * images * (classifiers * classes + 1) + OVERHEAD_BYTES


class Listener(Protocol):
    """Hears what is said of the images of a split, batch by batch."""

    def add(self, logits: Mapping[str, Tensor], targets: Tensor) -> None:
        """Hear of a batch: logits [B, C] by classifier, targets int64 [B]."""


class Predicted(NamedTuple):
    """Of all images of a split, in its order: logits float32 [K, N, C] of `names`, labels int64 [N]; on the CPU."""

    names: tuple[str, ...]
    logits: Tensor
    labels: Tensor


@dataclass
class Predicting:
    """Collects what the classifiers `names` say of this worker's share of a split; hears nothing if there are none."""

    names: tuple[str, ...]
    _logits: list[Tensor] = field(default_factory=list)
    _labels: list[Tensor] = field(default_factory=list)

    def add(self, logits: Mapping[str, Tensor], targets: Tensor) -> None:
        """Add a batch."""
        if self.names:
            every = [logits[name].detach().cpu().float() for name in self.names]  # takes no room on the device
            self._logits.append(torch.stack(every, 1))  # [B, K, C]
            self._labels.append(targets.cpu())

    def read(self, rank: int, workers: int) -> Predicted | None:
        """Return those of all workers, of which the r-th had the images r, r + workers, ...; None: not on rank 0."""
        mine = (torch.cat(self._logits), torch.cat(self._labels)) if self._labels else None
        team = [mine] * workers
        if workers > 1:
            torch.distributed.all_gather_object(team, mine)
        if rank:
            return None
        logits, labels = (in_order(parts) for parts in zip(*(share for share in team if share), strict=True))
        return Predicted(self.names, logits.movedim(1, 0), labels)


def in_order(shares: Sequence[Tensor]) -> Tensor:
    """Return [N, ...] of the shares of workers, of which the r-th has the images r, r + workers, ...

    Workers without an image have no share: they are the last ones.
    """
    whole = shares[0].new_empty(sum(map(len, shares)), *shares[0].shape[1:])
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole
