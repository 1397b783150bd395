"""A small trial that is really trained, for what is exported of it."""

import torch

from dks_study.spec.backbone import ResNetSpec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.trial import DataSpec, OptimiserSpec, TrialSpec
from dks_study.study.trial import run_trial
from dks_study.training.checkpoint import load_state


def trial_spec(**changes):
    values = {
        "backbone": ResNetSpec(name="resnet", depth=8, base_channels=4),
        "data": DataSpec(name="digits"),
        "branches": BranchSpec(taps=("stage1", "stage2")),
        "optimiser": OptimiserSpec(batch_size=512, lr=0.05),
        "epochs": 1,
        "phase": "search",
        "seed": 3,
    }
    return TrialSpec(**(values | changes))


def trained(folder, **changes):
    spec = trial_spec(**changes)
    run_trial(spec, folder, torch.device("cpu"), lambda metrics: None)
    return spec, load_state(folder / "last.pt", spec.content_hash())
