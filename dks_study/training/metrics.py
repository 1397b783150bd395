"""Sums over batches that stay on the device; read once per epoch, over all workers."""

import torch
from torch import Tensor

from dks_study.method.synergy import LossTerms
from dks_study.spec.pairing import MAIN, network_of

TOP5_FROM_CLASSES = 20  # with fewer classes top-5 says nothing


class Tally:
    """Adds up loss terms and hits of all K classifiers; `read` turns the sums into named means."""

    def __init__(self, names: tuple[str, ...], classes: int, device: torch.device, terms: tuple[str, ...] = ()) -> None:
        """Start at zero for the classifiers `names` and the pairs of named terms."""
        self._terms = terms
        self._names, self._top5 = names, classes >= TOP5_FROM_CLASSES
        # A network's own classifiers come last. Not a list of them: the device would be waited for at every use.
        self._own = sum(network_of(name) == network_of(MAIN) for name in names)
        self._images, size = 0, len(names)
        # [total loss, CE per classifier, KL of every (teacher, student), pairs of named terms]
        self._losses = torch.zeros(1 + size + size * size + len(terms), dtype=torch.float64, device=device)
        # [top-1 hits per classifier, with many classes top-5 hits, with several own classifiers ensemble hits]
        hits = size * (1 + self._top5) + (self._own > 1)
        self._hits = torch.zeros(hits, dtype=torch.int64, device=device)

    def add(self, terms: LossTerms, logits: dict[str, Tensor], targets: Tensor) -> None:
        """Add a batch: its loss terms, logits [B, C] by name, and targets int64 [B] or distributions [B, C].

        A hit on a distribution is one on its likeliest class.
        """
        stacked = torch.stack([logits[name] for name in self._names]).detach()  # [K, B, C]
        likeliest = targets.argmax(1) if targets.is_floating_point() else targets
        hits = stacked.topk(5 if self._top5 else 1, dim=-1).indices == likeliest.view(1, -1, 1)
        counts = [hits[..., 0].sum(1)]
        if self._top5:
            counts.append(hits.any(-1).sum(1))
        if self._own > 1:
            mean = stacked[-self._own :].float().softmax(-1).mean(0)
            counts.append((mean.argmax(-1) == likeliest).sum().view(1))
        self._hits += torch.cat(counts)
        named = [terms.terms[name].view(1) for name in self._terms]
        means = torch.cat([terms.total.detach().view(1), terms.supervised, terms.synergy.flatten(), *named])
        self._losses += means.double() * len(targets)
        self._images += len(targets)

    def read(self, prefix: str) -> dict[str, float]:
        """Return means over all workers: loss, loss/NAME, top1/NAME (and top5) in percent, kl/TEACHER>STUDENT,
        and of named terms term/NAME/TEACHER>STUDENT.

        With branches also top1/ensemble: of the mean of the probabilities of the network's own classifiers.
        """
        sums = torch.cat([torch.full_like(self._losses[:1], self._images), self._losses, self._hits.double()])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        names, size = self._names, len(self._names)
        count, *rest = sums.tolist()
        total, *rest = [value / count for value in rest]
        ce, kl, rest = rest[:size], rest[size : size + size**2], rest[size + size**2 :]
        named, hits = rest[: len(self._terms)], rest[len(self._terms) :]
        metrics = {f"{prefix}/loss": total}
        metrics |= {f"{prefix}/loss/{name}": ce[i] for i, name in enumerate(names)}
        metrics |= {f"{prefix}/top1/{name}": 100 * hits[i] for i, name in enumerate(names)}
        if self._top5:
            metrics |= {f"{prefix}/top5/{name}": 100 * hits[size + i] for i, name in enumerate(names)}
        if self._own > 1:
            metrics[f"{prefix}/top1/ensemble"] = 100 * hits[-1]
        pairs = [(t, s) for t in range(size) for s in range(size) if t != s]
        metrics |= {f"{prefix}/kl/{names[t]}>{names[s]}": kl[t * size + s] for t, s in pairs}
        return metrics | {f"{prefix}/term/{name}": value for name, value in zip(self._terms, named, strict=True)}
