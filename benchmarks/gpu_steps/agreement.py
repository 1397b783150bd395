"""Loss and gradients of a WRN-16-2 with two branches, dense, on the device against those of the CPU in float64.

The same weights, images and targets everywhere. A gradient's difference is the norm of the difference of all gradients
over the norm of the CPU's.
"""

from collections.abc import Mapping

import torch
from measuring.on_device import use_tf32
from measuring.setups import CLASSES, WRN_16_2, trial_of
from torch import Tensor

from dks_study.method.networks import build_network
from dks_study.method.synergy import objective_for
from dks_study.spec.compute import Computation, Precision
from dks_study.training.compute import precision
from gpu_steps.saying import Verdicts, asked, device_of, header, row, say

# Most relative difference of the gradients; the half formats are told, not judged.
WITHIN = {"float64": 1e-9, "float32": 1e-3}
TRIAL = trial_of(WRN_16_2)


def loss_and_gradients(
    device: torch.device, dtype: torch.dtype, autocast: Precision, images: int
) -> tuple[float, Mapping[str, Tensor]]:
    """Return the loss and the gradient of each weight, float64 on the CPU."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(images, 3, 32, 32, generator=random, dtype=torch.float64).to(device, dtype)
    targets = torch.randint(0, CLASSES, (images,), generator=random).to(device)
    network = build_network(TRIAL, 3, CLASSES, seed=0).to(device, dtype).train()
    with precision(Computation(autocast, channels_last=False), device):
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
    return (apart.norm() / size.norm()).item()


def main() -> None:
    """Compare every number format."""
    options = asked(__doc__)
    device, verdicts, images = device_of(options), Verdicts(), 4 if options.rehearse else 128
    loss, gradients = loss_and_gradients(torch.device("cpu"), torch.float64, "float32", images)
    say(f"WRN-16-2, {images} images: loss {loss:.12f} on the CPU in float64.")
    header("on the device", "loss", "its difference", "gradients' difference")
    found = {}
    halves: dict[str, Precision] = {"bfloat16": "bfloat16", "float16": "float16"}
    for name in ("float64", "float32", "TF32", *halves):
        use_tf32(name == "TF32")
        dtype = torch.float64 if name == "float64" else torch.float32
        autocast = halves.get(name, "float32")

        def cells(name: str = name, dtype: torch.dtype = dtype, autocast: Precision = autocast) -> list[str]:
            own, theirs = loss_and_gradients(device, dtype, autocast, images)
            found[name] = distance(theirs, gradients)
            return [f"{own:.9f}", f"{abs(own - loss) / loss:.1e}", f"{found[name]:.1e}"]

        row(name, *verdicts.attempt(cells))
    say()
    for name, most in WITHIN.items():
        verdicts.check(found.get(name, float("inf")) < most, f"{name}: gradients within {most:g} of the CPU's")
    verdicts.end()


if __name__ == "__main__":
    main()
