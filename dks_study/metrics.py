"""Sums over batches that stay on the device; read once per epoch, over all workers."""

import torch
from torch import Tensor

from dks_study.pairing import MAIN, network_of
from dks_study.synergy import LossTerms

TOP5_FROM_CLASSES = 20  # with fewer classes top-5 says nothing


class Tally:
    """Adds up loss terms and hits of all K classifiers; `read` turns the sums into named means."""

    def __init__(self, names: tuple[str, ...], classes: int, device: torch.device) -> None:
        """Start at zero for the classifiers `names`."""
        self._names, self._top5 = names, classes >= TOP5_FROM_CLASSES
        own = [name for name in names if network_of(name) == network_of(MAIN)]
        self._ensemble = [names.index(name) for name in own] if len(own) > 1 else []
        size = len(names)
        # [images, total loss, CE per classifier, top-1 hits, top-5 hits, KL of every (teacher, student), ensemble hits]
        self._sums = torch.zeros(3 + 3 * size + size * size, dtype=torch.float64, device=device)

    def add(self, terms: LossTerms, logits: dict[str, Tensor], targets: Tensor) -> None:
        """Add a batch: its loss terms, logits [B, C] by name, and targets int64 [B] or distributions [B, C].

        A hit on a distribution is one on its likeliest class.
        """
        stacked = torch.stack(list(logits.values())).detach()  # [K, B, C]
        likeliest = targets.argmax(1) if targets.is_floating_point() else targets
        hits = stacked.topk(5 if self._top5 else 1, dim=-1).indices == likeliest.view(1, -1, 1)
        hits1, hits5 = hits[..., 0].sum(dim=1), hits.any(dim=-1).sum(dim=1)
        means = torch.cat([terms.total.view(1), terms.supervised, terms.synergy.flatten()]).detach().double()
        total, ce, kl = torch.split(means * len(targets), [1, len(self._names), len(self._names) ** 2])
        count = torch.full_like(total, len(targets))
        together = self._together(stacked, likeliest)
        self._sums += torch.cat([count, total, ce, hits1.double(), hits5.double(), kl, together])

    def read(self, prefix: str) -> dict[str, float]:
        """Return means over all workers: loss, loss/NAME, top1/NAME (and top5) in percent, kl/TEACHER>STUDENT.

        With branches also top1/ensemble: of the mean of the probabilities of the network's own classifiers.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self._sums)
        names, size = self._names, len(self._names)
        count, *rest = self._sums.tolist()
        total, *rest = [value / count for value in rest]
        metrics = {f"{prefix}/loss": total}
        metrics |= {f"{prefix}/loss/{name}": rest[i] for i, name in enumerate(names)}
        metrics |= {f"{prefix}/top1/{name}": 100 * rest[size + i] for i, name in enumerate(names)}
        if self._top5:
            metrics |= {f"{prefix}/top5/{name}": 100 * rest[2 * size + i] for i, name in enumerate(names)}
        if self._ensemble:
            metrics[f"{prefix}/top1/ensemble"] = 100 * rest[-1]
        pairs = [(t, s) for t in range(size) for s in range(size) if t != s]
        return metrics | {f"{prefix}/kl/{names[t]}>{names[s]}": rest[3 * size + t * size + s] for t, s in pairs}

    def _together(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the hits [1] of the own classifiers' mean probabilities; logits [K, B, C], labels int64 [B]."""
        if not self._ensemble:
            return torch.zeros(1, dtype=torch.float64, device=logits.device)
        mean = logits[self._ensemble].float().softmax(-1).mean(0)
        return (mean.argmax(-1) == labels).sum().view(1).double()
