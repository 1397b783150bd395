"""Every method of the family on a transformer: it trains, and goes on as if it had never stopped."""

import copy
import json

import pytest
import torch
from test_trainer import HERE, lasting

from dks_study.method.networks import build_network
from dks_study.spec.files import load_study
from dks_study.spec.study import StudySpec, arm_trial
from dks_study.training.data import load
from dks_study.training.trainer import Chosen, fit

BACKBONE = {"name": "own_networks:tiny_swin"}
STAGES = {"stage1": "features.1.0", "stage2": "features.1", "stage3": "features.3"}  # 4 x 4, 4 x 4 and 2 x 2 pixels
ARMS = tuple(load_study("against_the_family").arms)


@pytest.fixture(scope="module")
def family(tmp_path_factory) -> StudySpec:
    """The study of the family with a small Swin for a network and for a teacher, a batch of images long."""
    values = json.loads(load_study("against_the_family").model_dump_json(exclude_unset=True, by_alias=True))
    arms = json.dumps(values["arms"])
    for stage, module in STAGES.items():
        arms = arms.replace(stage, module)
    values |= {"arms": json.loads(arms), "search": {"trials": 0, "seed": 1000}}
    values["trial"] |= {
        "backbone": BACKBONE,
        "branches": {"taps": ["features.1.0", "features.1"], "recipe": "linear"},
        "data": {"name": "digits", "train_images": 128},
        "optimiser": {"name": "adamw", "lr": 1e-3, "batch_size": 64},
        "epochs": 2,
    }
    weights = tmp_path_factory.mktemp("teacher") / "swin.pt"
    for keys in values["arms"].values():
        if "teacher.weights" in keys:
            keys |= {"teacher.weights": str(weights), "teacher.backbone": BACKBONE}
    study = StudySpec.model_validate_json(json.dumps(values))
    plain = arm_trial(study, "baseline", {}, epochs=1, phase="search", seed=5)
    torch.save(build_network(plain, 1, 10, 5, (8, 8)).plain().state_dict(), weights)
    return study


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_a_transformer_and_resumes_exactly(family, arm, tmp_path):
    trial = arm_trial(family, arm, {}, epochs=2, phase="confirm", seed=0)
    data = load(trial.data)
    first, last = (copy.deepcopy(report) for report in fit(trial, data, HERE))
    chosen = Chosen(1, first.metrics["val/top1/main"], first.state.shipped)
    (resumed,) = fit(trial, data, HERE, first.state, chosen)
    assert lasting(resumed.metrics) == lasting(last.metrics)
    assert all(torch.equal(value, resumed.state.network[key]) for key, value in last.state.network.items())
    assert last.metrics["train/loss/main"] < first.metrics["train/loss/main"]
