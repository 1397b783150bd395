"""What the loss costs: python benchmarks/synergy_loss.py.

One thread, CPU time of the process, everything in turn:

- forward and backward of the synergy loss, 4 classifiers, 128 images, 100 classes, against the published formulation
  (benchmarks/measuring/published.py): as it is by default (exact KL), and with the smoothing of the published code,
  where both sides give the same gradient; `gradients` compares it first;
- forward and backward of ours for 3 classifiers against a whole training step of WRN-16-2 with two branches.
"""

import statistics
import time
from collections.abc import Callable

import torch
from measuring.alternating import alternate, machine, ratios, seconds_of, show
from measuring.loops import bare
from measuring.published import SMOOTHING, published_loss
from measuring.setups import BATCH, CLASSES, WRN_16_2, made_up, trial_of
from torch import Tensor

from dks_study.method.synergy import objective_for
from dks_study.spec.loss import LossSpec

ROUNDS, CALLS = 25, 20
Loss = Callable[[dict[str, Tensor], Tensor], Tensor]


def losses(classifiers: int) -> dict[str, Loss]:
    """Return the sides by name: each maps logits by classifier and targets to the loss."""
    names = (*(f"stage{number + 1}" for number in range(classifiers - 1)), "main")
    exact, smoothed = (objective_for(LossSpec(smoothing=value), names) for value in (0.0, SMOOTHING))
    return {
        "ours": lambda logits, targets: exact(logits, targets).total,
        "ours, smoothed": lambda logits, targets: smoothed(logits, targets).total,
        "published": published_loss,
    }


def batch_of(classifiers: int, dtype: torch.dtype = torch.float32) -> tuple[dict[str, Tensor], Tensor]:
    """Return made-up logits [128, 100] by classifier and targets."""
    random = torch.Generator().manual_seed(0)
    names = (*(f"stage{number + 1}" for number in range(classifiers - 1)), "main")
    logits = {name: torch.randn(BATCH, CLASSES, generator=random, dtype=dtype) for name in names}
    return logits, torch.randint(0, CLASSES, (BATCH,), generator=random)


def gradients(loss: Loss, logits: dict[str, Tensor], targets: Tensor) -> Tensor:
    """Return the gradient of the loss with respect to all logits, [K, B, C]."""
    leaves = {name: each.detach().requires_grad_() for name, each in logits.items()}
    loss(leaves, targets).backward()  # type: ignore[no-untyped-call]
    return torch.stack([leaf.grad for leaf in leaves.values() if leaf.grad is not None])


def largest_difference(side: Loss, other: Loss, dtype: torch.dtype) -> float:
    """Return the largest difference of the two gradients, relative to the largest entry of the second."""
    first, second = (gradients(loss, *batch_of(4, dtype)) for loss in (side, other))
    return ((first - second).abs().max() / second.abs().max()).item()


def main() -> None:
    """Compare gradients, then times."""
    torch.set_num_threads(1)
    print(machine())
    sides = losses(4)
    for name, dtype in (("ours, smoothed", torch.float64), ("ours", torch.float64), ("ours", torch.float32)):
        difference = largest_difference(sides[name], sides["published"], dtype)
        print(f"gradient of {name} against published, {dtype}: {difference:.1e} of its largest entry")

    def timed(loss: Loss, classifiers: int) -> Callable[[], float]:
        batch = batch_of(classifiers)
        return lambda: seconds_of(lambda: gradients(loss, *batch), CALLS, time.process_time)

    print("\n4 classifiers, 128 images, 100 classes")
    seconds = alternate({name: timed(loss, 4) for name, loss in sides.items()}, ROUNDS)
    show(seconds, "ours", "published", 0.25)
    smoothed = ratios(seconds, "ours, smoothed", "published")
    print(f"ours, smoothed / published: median {statistics.median(smoothed):.3f} "
          f"({min(smoothed):.3f} to {max(smoothed):.3f}); no target")  # fmt: skip
    print("\nloss of 3 classifiers in a step of WRN-16-2, batch 128, 3x32x32")
    epoch = bare(trial_of(WRN_16_2), made_up(BATCH))
    step = {"loss": timed(losses(3)["ours"], 3), "step": lambda: seconds_of(epoch, clock=time.process_time)}
    seconds = alternate(step, ROUNDS // 3)
    show(seconds, "loss", "step", 0.02)
    print(f"that is {100 * statistics.median(ratios(seconds, 'loss', 'step')):.3f} % of the step")


if __name__ == "__main__":
    main()
