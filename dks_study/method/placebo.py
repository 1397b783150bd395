"""What teachers teach when their knowledge is destroyed: branches, cost and schedule stay, the signal goes.

A placebo tells whether a pair's gain is knowledge or regularisation. Shapes: K classifiers, B images, C classes.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dks_study.spec.loss import Signal


def destroyed(log_p: Tensor, signal: Signal, targets: Tensor, draws: torch.Generator) -> Tensor:
    """Return what each classifier teaches in place of its log-probabilities, as a constant [K, B, C].

    Args:
        log_p: of all classifiers, shape [K, B, C].
        signal: `knowledge` stays what it is; not `start`, which follows from no probabilities of now.
        targets: classes, int64 [B]; `other_images` and `uniform` take distributions [B, C], too.
        draws: on the CPU; who is permuted with whom follows from its state, the same for all classifiers.
    """
    return _SIGNALS[signal](log_p.detach(), targets, draws)


def gradient_sizes(log_p: Tensor, taught: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the norm over batch and classes of the gradient of the summed KL(q_t || p_s) by z_s at [t][s], [K, K].

    With p = softmax(z) and probabilities (p + e) / (1 + C e) in the KL the gradient is p_s sum(q_t r_s) - q_t r_s,
    r = p / (p + e); without smoothing e it is p_s - q_t. (By hand: d log(p_c + e) / d z_j = r_c (delta_cj - p_j).)

    Args:
        log_p: exact log-probabilities of the students, shape [K, B, C].
        taught: log q of the teachers, shape [K, B, C].
        smoothing: e.
    """
    p, q = log_p.detach().exp(), taught.exp()
    pulled = q[:, None] * (p / (p + smoothing) if smoothing else torch.ones_like(p))  # [K, K, B, C]
    sizes: Tensor = torch.linalg.vector_norm(p * pulled.sum(-1, keepdim=True) - pulled, dim=(2, 3))
    return sizes


def _other_images(log_p: Tensor, targets: Tensor, draws: torch.Generator) -> Tensor:
    images = log_p.shape[1]
    # Batches are in random order: with any shift an image's teacher sees any other image, and never the same one.
    shift = int(torch.randint(1, max(2, images), (), generator=draws))
    return log_p.roll(shift, dims=1)


def _wrong_classes(log_p: Tensor, targets: Tensor, draws: torch.Generator) -> Tensor:
    images, classes = log_p.shape[1:]
    order = torch.rand(images, classes, generator=draws).to(log_p.device, non_blocking=True)
    # Both lists have the label first: it is taken to itself, the others, in random order, to those in their own.
    label = F.one_hot(targets, classes).bool()
    to = torch.where(label, -1, torch.arange(classes, device=log_p.device)).argsort(dim=1)
    source = order.masked_fill(label, -1).argsort(dim=1)
    permutation = torch.empty_like(source).scatter_(1, to, source)
    return log_p.gather(2, permutation.expand_as(log_p))


def _class_means(log_p: Tensor, targets: Tensor, draws: torch.Generator) -> Tensor:
    member = F.one_hot(targets, log_p.shape[-1]).to(log_p.dtype)  # [B, C]
    same = member @ member.T
    return ((same / same.sum(1, keepdim=True)) @ log_p.exp()).log()


def _uniform(log_p: Tensor, targets: Tensor, draws: torch.Generator) -> Tensor:
    return torch.zeros_like(log_p).log_softmax(-1)


def _knowledge(log_p: Tensor, targets: Tensor, draws: torch.Generator) -> Tensor:
    return log_p


_SIGNALS: Mapping[Signal, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    "knowledge": _knowledge,
    "other_images": _other_images,
    "wrong_classes": _wrong_classes,
    "class_means": _class_means,
    "uniform": _uniform,
}
