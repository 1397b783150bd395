"""Losses written out by hand, and whether an objective agrees with one in value and in every gradient."""

import pytest
import torch

from dks_study.method.synergy import objective_for

NAMES = ("stage1", "stage2", "main")
BATCH, CLASSES = 6, 7


def made_up(names=NAMES):
    random = torch.Generator().manual_seed(0)
    logits = {name: torch.randn(BATCH, CLASSES, generator=random, dtype=torch.float64) * 2 for name in names}
    for each in logits.values():
        each.requires_grad_()
    return logits, torch.randint(0, CLASSES, (BATCH,), generator=random)


def kl(teacher, student, temperature=1.0, detach=True):
    """KL(teacher || student), summed over classes, mean over the batch: from its definition."""
    p, q = (torch.softmax(each / temperature, dim=1) for each in (teacher, student))
    if detach:
        p = p.detach()
    return (p * (p / q).log()).sum(1).mean()


def ce(logits, targets):
    return -torch.log(torch.softmax(logits, 1)[torch.arange(len(targets)), targets]).mean()


def check(loss, by_hand, names=NAMES, **call):
    """The objective and the formula agree in value and in every gradient."""
    ours, targets = made_up(names)
    theirs, _ = made_up(names)
    total = objective_for(loss, names)(ours, targets, **call).total
    expected = by_hand(theirs, targets)
    total.backward()
    expected.backward()
    assert total.item() == pytest.approx(expected.item(), rel=1e-10)
    for name in names:
        found, wanted = (torch.zeros_like(z[name]) if z[name].grad is None else z[name].grad for z in (ours, theirs))
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
