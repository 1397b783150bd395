"""Tallies: a target that is a distribution counts by its likeliest class."""

import pytest
import torch

from dks_study.metrics import Tally
from dks_study.spec import LossSpec
from dks_study.synergy import objective_for

NAMES = ("stage1", "main")


def test_hits_on_distributions_are_hits_on_their_likeliest_class():
    source = torch.Generator().manual_seed(0)
    logits = {name: torch.randn(40, 7, generator=source) for name in NAMES}
    labels = torch.randint(0, 7, (40,), generator=source)
    others = (labels + torch.randint(1, 7, (40,), generator=source)) % 7
    one_hot = torch.nn.functional.one_hot
    soft = 0.7 * one_hot(labels, 7).float() + 0.3 * one_hot(others, 7).float()
    objective = objective_for(LossSpec(), NAMES)
    hard_tally, soft_tally = (Tally(NAMES, 7, torch.device("cpu")) for _ in range(2))
    hard_tally.add(objective(logits, labels), logits, labels)
    soft_tally.add(objective(logits, soft), logits, soft)
    hard, mixed = hard_tally.read("train"), soft_tally.read("train")
    for name in NAMES:
        hits = (logits[name].argmax(1) == labels).float().mean().item()
        assert mixed[f"train/top1/{name}"] == hard[f"train/top1/{name}"] == pytest.approx(100 * hits)
        of_others = torch.nn.functional.cross_entropy(logits[name], others).item()
        expected = 0.7 * hard[f"train/loss/{name}"] + 0.3 * of_others
        assert mixed[f"train/loss/{name}"] == pytest.approx(expected, rel=1e-5)
