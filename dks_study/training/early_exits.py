"""Early exits of a trained network: thresholds of confidence for a budget, chosen on validation, and what they bring.

Budgeted batch classification of MSDNet (Huang et al., ICLR 2018, section 3 and experiments): the confidence of an exit
is its largest softmax probability; an image leaves at the first exit whose confidence is above that exit's threshold,
and at the last one in any case. MSDNet lets the share q_k = z (1 - q)^(k-1) q of the images leave at exit k, with q
such that sum_k q_k C_k is the budget, C_k being what it costs to come to exit k, and takes thresholds with which so
many validation images leave there. Here 1 - q may exceed 1, so that every budget from the first to the last exit's cost
can be had.

Shapes: K exits from shallow to deep, `main` last; N images; costs [K] never fall; confidence [K, N] is in (0, 1].
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dks_study.training.cost import ExitCost

NEVER, ALWAYS = 1.0, 0.0  # no confidence is above 1, and all are above 0
WAY = range(0, 101, 10)  # budgets in percent of the way from the first exit's cost to the last one's
_STEEPEST, _HALVINGS = 60.0, 200


def shares_for(costs: Sequence[float], budget: float) -> Tensor:
    """Return which share [K] of the images is to leave at each exit, in float64, for a mean cost of `budget`.

    They are a geometric series. A budget below the first cost gives the first exit everything, one above the last cost
    the last exit.
    """
    every = torch.tensor(costs, dtype=torch.float64)
    if budget <= costs[0]:
        return torch.eye(len(costs), dtype=torch.float64)[0]
    if budget >= costs[-1]:
        return torch.eye(len(costs), dtype=torch.float64)[-1]
    low, high = -_STEEPEST, _STEEPEST  # of the logarithm of the series' ratio, with which the mean cost rises
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        too_dear = float(_series(len(costs), middle) @ every) > budget
        low, high = (low, middle) if too_dear else (middle, high)
    return _series(len(costs), low)


def _series(exits: int, log_ratio: float) -> Tensor:
    return (log_ratio * torch.arange(exits, dtype=torch.float64)).softmax(0)


def thresholds_for(confidence: Tensor, shares: Tensor) -> Tensor:
    """Return thresholds [K] with which the shares [K] of these images leave, to a whole image; fewer where some tie."""
    images, staying, thresholds = confidence.shape[1], confidence, []
    for k, share in enumerate(shares.tolist()):
        wanted = min(math.floor(share * images + 0.5), staying.shape[1])
        if k == len(shares) - 1 or (wanted and wanted == staying.shape[1]):
            threshold = ALWAYS
        elif not wanted:
            threshold = NEVER
        else:  # the surest that is to stay
            threshold = float(staying[k].topk(wanted + 1).values[-1])
        thresholds.append(threshold)
        staying = staying[:, staying[k] <= threshold]
    return torch.tensor(thresholds, dtype=confidence.dtype)


def leave_at(confidence: Tensor, thresholds: Tensor) -> Tensor:
    """Return at which exit, int64 [N] in [0, K), each image leaves."""
    leaves = confidence > thresholds.unsqueeze(1)
    leaves[-1] = True
    return leaves.int().argmax(0)  # the first of equals


@dataclass
class Answers:
    """What every exit says of the images of a split: how sure it is, and whether it is right.

    Attributes:
        exits: names, shallow to deep, `main` last.
    """

    exits: tuple[str, ...]
    _confidence: list[Tensor] = field(default_factory=list)
    _hits: list[Tensor] = field(default_factory=list)

    def add(self, logits: Mapping[str, Tensor], targets: Tensor) -> None:
        """Add a batch: logits [B, classes] by classifier, targets int64 [B]."""
        surest = torch.stack([logits[name].detach().float() for name in self.exits]).softmax(-1).max(-1)
        self._confidence.append(surest.values)
        self._hits.append(surest.indices == targets)

    def read(self, workers: int) -> tuple[Tensor, Tensor]:
        """Return confidence float32 [K, N] and hits bool [K, N] of the images of all workers, on the CPU."""
        empty = torch.empty(len(self.exits), 0)
        mine = [torch.cat([empty, *(part.cpu() for part in parts)], 1) for parts in (self._confidence, self._hits)]
        team = [mine] * workers
        if workers > 1:
            torch.distributed.all_gather_object(team, mine)
        confidence, hits = (torch.cat(parts, 1) for parts in zip(*team, strict=True))
        return confidence, hits.bool()


def exit_metrics(
    costs: Mapping[str, ExitCost], validation: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """Return what early exits bring, as metrics.

    exit/macs/NAME and exit/macs_through/NAME: see `ExitCost`. For each budget of WAY: budget/WAY/threshold/NAME, from
    validation alone, and with these on the test images budget/WAY/top1 (%) and budget/WAY/macs (mean per image).

    Args:
        costs: of the exits, by name, in the order of the rows of the answers.
        validation: confidence and hits [K, N].
        test: likewise, of other images.
    """
    metrics = {f"exit/macs/{name}": float(cost.alone) for name, cost in costs.items()}
    metrics |= {f"exit/macs_through/{name}": float(cost.through) for name, cost in costs.items()}
    if len(costs) == 1:
        return metrics
    through = [float(cost.through) for cost in costs.values()]
    for way in WAY:
        budget = through[0] + way / 100 * (through[-1] - through[0])
        thresholds = thresholds_for(validation[0], shares_for(through, budget))
        left = leave_at(test[0], thresholds)
        hits = test[1].gather(0, left.unsqueeze(0))
        metrics[f"budget/{way}/top1"] = 100 * float(hits.double().mean())
        metrics[f"budget/{way}/macs"] = float(torch.tensor(through, dtype=torch.float64)[left].mean())
        pairs = zip(costs, thresholds.tolist(), strict=True)
        metrics |= {f"budget/{way}/threshold/{name}": threshold for name, threshold in pairs}
    return metrics
