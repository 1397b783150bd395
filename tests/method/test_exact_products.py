"""The products of the KL between classifiers: exact in their number format, whatever a GPU does to matrix products."""

from contextlib import nullcontext

import pytest
import torch
from pseudo import pseudo
from torch.utils._python_dispatch import TorchDispatchMode

from dks_study.method import synergy
from dks_study.method.synergy import objective_for, pairwise_kl
from dks_study.spec.loss import LossSpec

NAMES = ("stage1", "stage2", "main")


def some_logits(classifiers, batch, classes, dtype):
    return (6 * pseudo("products", (classifiers, batch, classes)) - 3).to(dtype)


class Called(TorchDispatchMode):
    """Remembers the names of the operations that are run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("signal", ["knowledge", "other_images"])
def test_where_matrix_products_may_be_rounded_the_loss_and_its_gradient_take_none(signal, monkeypatch):
    monkeypatch.setattr(synergy, "_no_autocast", lambda _: nullcontext())  # it knows no meta device

    # No GPU is needed to see which operations one would be asked for; a GPU may round those, forward and backward.
    def operations(device):
        leaves = dict(zip(NAMES, some_logits(3, 5, 7, torch.float32).to(device).requires_grad_(), strict=True))
        objective = objective_for(LossSpec(teacher_signal=signal), NAMES)
        with Called() as called:
            objective(leaves, torch.zeros(5, dtype=torch.int64, device=device)).total.backward()
        return called.names & {"mm", "addmm", "bmm", "baddbmm", "matmul", "linear"}

    assert operations("cpu") == {"mm"}
    assert operations("meta") == set()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ways_to_sum_products_agree_with_their_gradients_to_the_last_digits(dtype, monkeypatch):
    found = []
    for products in (synergy._products, synergy._one_by_one):
        monkeypatch.setattr(synergy, "_products", products)
        leaves = some_logits(4, 64, 100, dtype).requires_grad_()
        divergences = pairwise_kl(leaves)
        divergences.square().sum().backward()
        found.append((divergences.detach(), leaves.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=20 * torch.finfo(dtype).eps * one.abs().max().item())
