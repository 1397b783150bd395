"""The loss of deeply-supervised knowledge synergy: pure functions of logits, no parameters, no network.

Named terms beside it, on features or logits, are those of `terms.py`.

Shapes: K classifiers (shallow to deep, `main` last), B images, C classes.
Source: Sun et al., CVPR 2019 (arXiv 1906.00675): cross-entropies of all classifiers plus KL(p_t || p_s) over
ordered pairs of classifiers, where the teacher t is a constant. Every weight is 1 in the paper.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dks_study.method.placebo import destroyed, gradient_sizes
from dks_study.method.terms import Sides, term_values
from dks_study.spec.loss import LossSpec
from dks_study.spec.pairing import AT_START, ENSEMBLE, GATE, MAIN, TEACHER, network_of, pairing_matrix
from dks_study.spec.terms import pairs_of


@dataclass(frozen=True)
class LossTerms:
    """The loss of one batch: `total` carries the gradient, the reports are detached.

    Attributes:
        names: the K classifiers, shallow to deep, `main` last.
        total: the weighted sum that is minimised, shape [], in nats.
        supervised: unweighted cross-entropy of each classifier, batch mean, shape [K], in nats.
        synergy: unweighted KL(p_t || p_s) at [t][s], batch mean, shape [K, K], in nats, zero diagonal; with a placebo,
            too, how far the classifiers are apart, not what was taught.
        terms: unweighted value of each pair of each named term, shape [], by `hint/teacher.stage2>stage2`.
    """

    names: tuple[str, ...]
    total: Tensor
    supervised: Tensor
    synergy: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


def pairwise_kl(logits: Tensor, temperature: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Return KL(p_t || p_s) of all ordered pairs at [t][s], batch mean, in nats, shape [K, K].

    p = softmax(logits / temperature). The teacher is detached: entry [t][s] has a gradient with respect to the
    logits of s alone. There is no factor temperature**2: the value is the divergence itself.

    Args:
        logits: shape [K, B, C]; half precision is promoted to float32, float64 stays float64.
        temperature: above 0; the paper uses 1.
        smoothing: 0 for the exact KL; with e > 0, that of (p + e) / (1 + C e) (the authors' code: 1e-8).
    """
    with _no_autocast(logits.device.type):
        return _kl_matrix(_smoothed(_log_softmax(logits, temperature), smoothing))


@dataclass(frozen=True)
class Objective:
    """Maps the logits of all classifiers to the loss; build it with `objective_for`.

    Attributes:
        names: the K classifiers, shallow to deep, `main` last.
        supervised_weights: K weights of the cross-entropies, before any schedule.
        pair_weights: weight of KL(p_t || p_s) at [t][s], K x K, before any schedule.
        term_pairs: of each named term who teaches whom, as 'teacher>student'.
        loss: temperature, schedules and the like.
    """

    names: tuple[str, ...]
    supervised_weights: tuple[float, ...]
    pair_weights: tuple[tuple[float, ...], ...]
    term_pairs: Mapping[str, tuple[str, ...]]
    loss: LossSpec

    @property
    def has_synergy(self) -> bool:
        """Does any KL term enter the loss?"""
        return any(weight for row in self.pair_weights for weight in row)

    def __call__(
        self,
        logits: Mapping[str, Tensor],
        targets: Tensor,
        progress: float = 1.0,
        draws: torch.Generator | None = None,
        features: Mapping[str, Sides] | None = None,
        images: Tensor | None = None,
    ) -> LossTerms:
        """Return the loss terms of one batch; a KL that does not enter the loss is measured all the same.

        Args:
            logits: by classifier, each of shape [B, C]; with teacher_signal start, those of each as it starts, too, by
                its name and `@start`.
            targets: true classes, int64 in [0, C), shape [B]; or distributions over classes, shape [B, C].
            progress: the fraction of training that is done, in [0, 1]; the schedules go by it.
            draws: decides which pairs are left out of this step (None leaves out none), and what a placebo permutes.
            features: what each pair of a term on features compares, by `hint/teacher.stage2>stage2`.
            images: what the logits come from, for terms on derivatives by the pixels: requires a gradient.

        Raises:
            KeyError: if a classifier has no logits, or a term no features.
        """
        loss = self.loss
        with _no_autocast(targets.device.type):
            stacked = torch.stack([logits[name] for name in self.names])
            log_p = _log_softmax(stacked, 1.0)
            softened = log_p if loss.temperature == 1 else _log_softmax(stacked, loss.temperature)
            supervised = _cross_entropies(log_p, targets)
            total = self._scheduled(supervised.detach(), progress) @ _smooth_labels(supervised, log_p, loss)
            smoothed = _smoothed(softened, loss.smoothing)
            synergy = _kl_matrix(smoothed, detach_teacher=loss.detach_teacher)
            if self.has_synergy:
                weights = self._kept(_constant(self.pair_weights, synergy.device, synergy.dtype), draws)
                taught = synergy
                if loss.teacher_signal == "start":
                    taught = self._placebo(softened, smoothed, self._at_start(logits))
                elif loss.teacher_signal != "knowledge":
                    # Where nothing is learned (validation) every batch draws the same.
                    drawn = draws or torch.Generator().manual_seed(0)
                    signal = destroyed(smoothed, loss.teacher_signal, targets, drawn)
                    taught = self._placebo(softened, smoothed, signal)
                total = total + (_synergy_factor(loss, progress) * weights).flatten() @ taught.flatten()
            named = dict[str, Tensor]()
            for name, term in loss.terms.items():
                pairs = self.term_pairs[name]
                values = term_values(name, term, pairs, logits, targets, features or {}, images, loss.detach_teacher)
                total = total + term.weight * _risen(term.warmup, progress) * torch.stack(list(values.values())).sum()
                named |= {key: value.detach() for key, value in values.items()}
        return LossTerms(self.names, total, supervised.detach(), synergy.detach(), named)

    def _scheduled(self, supervised: Tensor, progress: float) -> Tensor:
        """Weights [K] of the cross-entropies at this point of training."""
        weights, schedule = _constant(self.supervised_weights, supervised.device, supervised.dtype), self.loss
        if schedule.branch_schedule == "constant" and not schedule.main_fall:
            return weights
        is_main = tuple(float(_is_main(name)) for name in self.names)
        main = _constant(is_main, supervised.device, supervised.dtype)
        of_branches: Tensor | float = 1 - progress if schedule.branch_schedule == "linear" else 1.0
        if schedule.branch_schedule == "threshold":
            of_branches = (supervised > schedule.branch_threshold).to(supervised.dtype)
        return weights * (main * (1 - schedule.main_fall * progress) + (1 - main) * of_branches)

    def _at_start(self, logits: Mapping[str, Tensor]) -> Tensor:
        """Log-probabilities [K, B, C] of the classifiers as they start, softened and smoothed as those of now are."""
        stacked = torch.stack([logits[name + AT_START] for name in self.names]).detach()
        return _smoothed(_log_softmax(stacked, self.loss.temperature), self.loss.smoothing)

    def _placebo(self, exact: Tensor, smoothed: Tensor, signal: Tensor) -> Tensor:
        """KL(q_t || p_s) at [t][s], where log q_t is the `signal` in place of the teacher's log-probabilities."""
        loss = self.loss
        divergence = _cross_kl(signal, smoothed)
        if not loss.keep_gradient_size:
            return divergence
        sizes = [gradient_sizes(exact, each, loss.smoothing) for each in (smoothed.detach(), signal)]
        return divergence * (sizes[0] / sizes[1]).nan_to_num(0.0, posinf=0.0)  # of no gradient nothing can be made

    def _kept(self, weights: Tensor, draws: torch.Generator | None) -> Tensor:
        if not self.loss.pair_dropout or draws is None:
            return weights
        kept = torch.rand(weights.shape, generator=draws) >= self.loss.pair_dropout
        return weights * kept.to(weights.device, non_blocking=True)


def objective_for(loss: LossSpec, classifiers: tuple[str, ...]) -> Objective:
    """Return the objective that `loss` describes for these classifiers (shallow to deep, `main` last).

    A branch has the weight of its tap, or else the weight of all branches; a frozen teacher has none, nor have
    ensembles but the gated one, which has that of `main`. A pair has the weight of the pairing, inside a network that
    of its direction, and the synergy weight.

    Raises:
        ValueError: if the pairing or a term names a classifier that is not there.
    """
    term_pairs: dict[str, tuple[str, ...]] = {}
    for name, term in loss.terms.items():
        try:
            term_pairs[name] = pairs_of(term, classifiers)
        except ValueError as error:
            raise ValueError(f"terms.{name}.pairs: {error}") from error
    pair = pairing_matrix(loss.pairing, classifiers)
    pairs = sum(weight > 0 for row in pair for weight in row)
    common = loss.synergy_weight / (max(1, pairs) if loss.pair_reduction == "mean" else 1)
    size = range(len(classifiers))
    networks = [network_of(name) for name in classifiers]
    by_direction = [[loss.top_down_weight if t > s else loss.bottom_up_weight for s in size] for t in size]
    directed = [[by_direction[t][s] if networks[t] == networks[s] else 1.0 for s in size] for t in size]
    return Objective(
        names=classifiers,
        supervised_weights=tuple(_supervised_weight(loss, name) for name in classifiers),
        pair_weights=tuple(tuple(common * directed[t][s] * pair[t][s] for s in size) for t in size),
        term_pairs=term_pairs,
        loss=loss,
    )


def _supervised_weight(loss: LossSpec, name: str) -> float:
    if name == TEACHER or (network_of(name) == ENSEMBLE and name != GATE):
        return 0.0
    return loss.main_weight if _is_main(name) else loss.branch_weight_by_tap.get(name, loss.branch_weight)


def _is_main(name: str) -> bool:
    return name == GATE or name.rpartition(".")[2] == MAIN


def _synergy_factor(loss: LossSpec, progress: float) -> float:
    """Warm-up times the factor T**2 that keeps gradients of softened distributions as large as at T = 1."""
    return _risen(loss.synergy_warmup, progress) * (loss.temperature**2 if loss.temperature_squared else 1.0)


def _risen(warmup: float, progress: float) -> float:
    """The share of a weight that rises from 0 over the fraction `warmup` of training."""
    return min(1.0, progress / warmup) if warmup else 1.0


def _no_autocast(device_type: str) -> AbstractContextManager[object]:
    """Return the context in which products are not rounded to half precision."""
    # Entering autocast to switch it off takes a tenth of the loss's time, and it is rarely on here.
    return torch.autocast(device_type, enabled=False) if torch.is_autocast_enabled(device_type) else nullcontext()


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # Dividing by 1 would change nothing and cost a pass over all logits, and another one for the gradient.
    return F.log_softmax(exact if temperature == 1 else exact / temperature, dim=-1)


def _smoothed(log_p: Tensor, smoothing: float) -> Tensor:
    if not smoothing:
        return log_p
    return (log_p.exp() + smoothing).log() - math.log1p(log_p.shape[-1] * smoothing)


def _cross_entropies(log_p: Tensor, targets: Tensor) -> Tensor:
    """Batch-mean cross-entropies [K] from log-probabilities [K, B, C] and targets [B] or [B, C]."""
    if targets.is_floating_point():
        return -(targets.to(log_p.dtype) * log_p).sum(-1).mean(1)
    classifiers, batch = log_p.shape[:2]
    losses = F.nll_loss(log_p.flatten(0, 1), targets.repeat(classifiers), reduction="none")
    return losses.view(classifiers, batch).mean(1)


def _smooth_labels(supervised: Tensor, log_p: Tensor, loss: LossSpec) -> Tensor:
    """Cross-entropies [K] with targets mixed with the uniform distribution by `label_smoothing`."""
    if not loss.label_smoothing:
        return supervised
    return (1 - loss.label_smoothing) * supervised - loss.label_smoothing * log_p.mean((1, 2))


def _kl_matrix(log_p: Tensor, detach_teacher: bool = True) -> Tensor:
    """KL(p_t || p_s) = sum p_t (log p_t - log p_s) at [t][s], of all pairs."""
    constant = log_p.detach()
    teacher = constant if detach_teacher else log_p
    # Taking the same constant from all log-probabilities leaves their differences, and hence KL and gradients,
    # as they are; but the two sums that are subtracted below become as small as the KL, so no digits are lost.
    centred = log_p - constant.mean(0)
    cross = _products(teacher.exp(), centred) / log_p.shape[1]
    own = cross.diagonal().unsqueeze(1)
    return (own.detach() if detach_teacher else own) - cross


def _cross_kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    """KL(q_t || p_s) at [t][s] of constants log q with log p, both [K, B, C]; centred as in `_kl_matrix`."""
    centre, q = log_p.detach().mean(0), log_q.exp()
    own = (q * (log_q - centre)).sum((1, 2)).unsqueeze(1)
    return (own - _products(q, log_p - centre)) / log_p.shape[1]


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Sums over images and classes of first[t] * second[s] at [t][s], shape [K, K], exact in their number format."""
    if first.device.type == "cpu":
        return first.flatten(1) @ second.flatten(1).T  # a third faster
    # GPUs may round what a matrix product is made of to 10 bits (tf32), and that of its gradient, by the setting that
    # holds when the backward pass runs.
    return _one_by_one(first, second)


def _one_by_one(first: Tensor, second: Tensor) -> Tensor:
    """The same without a matrix product."""
    return (first.unsqueeze(1) * second).sum((2, 3))


@lru_cache(maxsize=64)
def _constant(
    values: tuple[float, ...] | tuple[tuple[float, ...], ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """The weights as a tensor, copied to the device once: a copy in every step would wait for the device."""
    # An objective first called while evaluating must not leave an inference tensor for training to find.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
