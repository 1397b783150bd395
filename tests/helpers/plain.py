"""Runs of a network without batch norm, where what is computed in parts is what is computed at once."""

import torch
from studies import small_study
from torch import nn

from dks_study.spec.study import arm_trial
from dks_study.spec.trial import TrialSpec

STEPS_PER_EPOCH = 13  # 1,213 images in batches of 100


class Plain(nn.Module):
    """Three classifiers without batch norm, so that a batch's gradient is the mean of its parts'."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.stage1, self.stage2, self.hidden = nn.Linear(64, 10), nn.Linear(64, 10), nn.Linear(64, 20)
        self.main = nn.Linear(20, 10)

    def forward(self, images):
        flat = images.flatten(1)
        main = self.main(self.hidden(flat).relu())
        return {"stage1": self.stage1(flat), "stage2": self.stage2(flat), "main": main}


def plain_trial(**optimiser) -> TrialSpec:
    """Return a trial of two epochs in batches of 100, the last one of 13, that leaves out pairs at random."""
    settings = {"lr": 0.05, "batch_size": 100, "keep_partial_batch": True, **optimiser}
    study = small_study(trials=0, optimiser=settings)
    return arm_trial(study, "dense", {"loss.pair_dropout": 0.3}, epochs=2, phase="search", seed=0)
