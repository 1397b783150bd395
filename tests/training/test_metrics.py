"""Tallies: a target that is a distribution counts by its likeliest class."""

import pytest
import torch

from dks_study.method.synergy import objective_for
from dks_study.spec.loss import LossSpec
from dks_study.training.metrics import Tally

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


@pytest.mark.parametrize(
    ("names", "own"),
    [(("teacher", "stage1", "main"), (1, 2)), (("peer1.stage1", "peer1.main", "stage1", "stage2", "main"), (2, 3, 4))],
)
def test_the_ensemble_is_the_mean_of_the_own_classifiers_probabilities(names, own):
    source = torch.Generator().manual_seed(0)
    logits = {name: 3 * torch.randn(50, 7, generator=source) for name in names}
    labels = torch.randint(0, 7, (50,), generator=source)
    tally = Tally(names, 7, torch.device("cpu"))
    for part in (slice(0, 20), slice(20, 50)):
        batch = {name: each[part] for name, each in logits.items()}
        tally.add(objective_for(LossSpec(), names)(batch, labels[part]), batch, labels[part])
    mean = sum(logits[names[at]].softmax(1) for at in own) / len(own)
    expected = 100 * (mean.argmax(1) == labels).float().mean().item()
    assert tally.read("val")["val/top1/ensemble"] == pytest.approx(expected)


def test_a_single_classifier_has_no_ensemble():
    logits, labels = {"main": torch.randn(5, 7)}, torch.zeros(5, dtype=torch.int64)
    tally = Tally(("main",), 7, torch.device("cpu"))
    tally.add(objective_for(LossSpec(), ("main",))(logits, labels), logits, labels)
    assert not [key for key in tally.read("val") if "ensemble" in key]
