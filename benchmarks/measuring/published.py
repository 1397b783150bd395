"""The published formulation of deeply-supervised knowledge synergy, written down naively: what ours is held against.

From the formulas of Sun et al. (CVPR 2019) and what tests/reference/README.md says of the published code, none of
whose text is here: for each ordered pair of classifiers two softmaxes, 1e-8 added to every probability, one KL at a
time. Its optimiser, layout and loop are PyTorch's defaults.
"""

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMOOTHING = 1e-8


def published_loss(logits: Mapping[str, Tensor], targets: Tensor) -> Tensor:
    """Return the cross-entropies plus KL(teacher || student) of all ordered pairs, every weight 1, shape []."""
    total = torch.zeros((), device=targets.device)
    for student, own in logits.items():
        total = total + F.cross_entropy(own, targets)
        for teacher, other in logits.items():
            if teacher != student:
                total = total + _divergence(other.detach(), own)
    return total


def published_step(
    model: nn.Module, optimiser: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]
) -> None:
    """Take one step on each batch: float images [B, C, H, W], targets int64 [B]."""
    for images, targets in batches:
        optimiser.zero_grad()
        published_loss(model(images), targets).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    p, q = (_smoothed(F.softmax(each, dim=1)) for each in (teacher, student))
    return (p * (p.log() - q.log())).sum(1).mean()


def _smoothed(probabilities: Tensor) -> Tensor:
    return (probabilities + SMOOTHING) / (1 + probabilities.shape[1] * SMOOTHING)
