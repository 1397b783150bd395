"""Loss and gradients of a WRN-16-2 with two branches, dense, on the device against those of the CPU in float64.

The same weights, images and targets everywhere, set up as a trial is. A gradient's difference is the norm of the
difference of all gradients over the norm of the CPU's. Then the loss alone, of the same logits, in a trial that rounds
the products of its network: its own are not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from measuring.setups import CLASSES, WRN_16_2, trial_of
from torch import Tensor, nn

from dks_study.method.networks import build_network
from dks_study.method.synergy import objective_for
from dks_study.spec.compute import Computation, Precision
from dks_study.training.compute import place, precision, round_products
from gpu_steps.saying import Table, Verdicts, asked, device_of, say

TRIAL = trial_of(WRN_16_2)
LOSS_WITHIN = 1e-5  # of the same logits: the rounding of float32, a hundredth of TF32's


@dataclass(frozen=True)
class Format:
    """A number format, and by how much the loss and the gradients may differ; None: that is told, not judged."""

    name: str
    precision: Precision
    dtype: torch.dtype
    loss_within: float
    gradients_within: float | None

    def place(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Return a network as a trial in this format has it."""
        return place(network, Computation(self.precision, channels_last=False), device).to(self.dtype)


EXACT = Format("float64", "float32", torch.float64, 1e-11, 1e-9)
FORMATS = (
    EXACT,
    Format("float32", "float32", torch.float32, 1e-5, 1e-3),
    Format("TF32", "tf32", torch.float32, 0.01, None),
    Format("bfloat16", "bfloat16", torch.float32, 0.05, None),
    Format("float16", "float16", torch.float32, 0.01, None),
)


def loss_and_gradients(device: torch.device, how: Format, images: int) -> tuple[float, Mapping[str, Tensor]]:
    """Return the loss and the gradient of each weight, float64 on the CPU."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(images, 3, 32, 32, generator=random, dtype=torch.float64).to(device, how.dtype)
    targets = torch.randint(0, CLASSES, (images,), generator=random).to(device)
    network = how.place(build_network(TRIAL, 3, CLASSES, seed=0), device).train()
    with precision(Computation(how.precision, channels_last=False), device):
        logits = network(x)
    total = objective_for(TRIAL.loss, TRIAL.classifiers)(logits, targets).total
    total.backward()  # type: ignore[no-untyped-call]
    found = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
    return total.item(), {name: gradient.double().cpu() for name, gradient in found.items()}


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the relative difference of two sets of gradients, which must be of the same weights."""
    names = sorted(one.keys() | other.keys())
    apart, size = (torch.cat([each.flatten() for each in many]) for many in (
        [one[name] - other[name] for name in names], [other[name] for name in names]
    ))  # fmt: skip
    return float((apart.norm() / size.norm()).item())


def of_logits(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the divergences of all pairs, and the gradient of the loss, of made-up logits of three classifiers."""
    random, names = torch.Generator().manual_seed(0), TRIAL.classifiers
    logits = 3 * torch.randn(len(names), 128, CLASSES, generator=random)
    leaves = {name: each.to(device, dtype).requires_grad_() for name, each in zip(names, logits, strict=True)}
    targets = torch.randint(0, CLASSES, (128,), generator=random).to(device)
    terms = objective_for(TRIAL.loss, names)(leaves, targets)
    terms.total.backward()  # type: ignore[no-untyped-call]
    gradients = torch.stack([leaf.grad for leaf in leaves.values() if leaf.grad is not None])
    return terms.synergy.double().cpu(), gradients.double().cpu()


def check_loss_alone(device: torch.device, verdicts: Verdicts) -> None:
    """Compare the loss of the same logits where the products of networks are rounded to TF32."""
    round_products(True)
    pairs = zip(of_logits(device, torch.float32), of_logits(torch.device("cpu"), torch.float64), strict=True)
    most = [((one - other).abs().max() / other.abs().max()).item() for one, other in pairs]
    far = " and ".join(f"{each:.1e}" for each in most)
    what = f"the same logits, TF32: divergences and gradient within {LOSS_WITHIN:g} of the CPU's ({far})"
    verdicts.check(max(most) < LOSS_WITHIN, what)


def main() -> None:
    """Compare every number format."""
    options = asked(__doc__)
    device, verdicts, images = device_of(options), Verdicts(), 4 if options.rehearse else 128
    loss, gradients = loss_and_gradients(torch.device("cpu"), EXACT, images)
    say(f"WRN-16-2, {images} images: loss {loss:.12f} on the CPU in float64.")
    table = Table(verdicts, "on the device", "loss", "its difference", "gradients' difference")
    found: dict[str, tuple[float, float]] = {}
    for how in FORMATS:

        def cells(how: Format = how) -> list[str]:
            own, theirs = loss_and_gradients(device, how, images)
            found[how.name] = abs(own - loss) / loss, distance(theirs, gradients)
            return [f"{own:.9f}", *(f"{each:.1e}" for each in found[how.name])]

        table.attempt(how.name, cells)
    say()
    for how in FORMATS:
        of_loss, of_gradients = found.get(how.name, (float("inf"), float("inf")))
        verdicts.check(of_loss < how.loss_within, f"{how.name}: loss within {how.loss_within:g} of the CPU's")
        if how.gradients_within is not None:
            what = f"{how.name}: gradients within {how.gradients_within:g} of the CPU's"
            verdicts.check(of_gradients < how.gradients_within, what)
    verdicts.attempt("the loss alone", lambda: check_loss_alone(device, verdicts))
    verdicts.end()


if __name__ == "__main__":
    main()
