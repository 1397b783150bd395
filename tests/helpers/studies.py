"""Small studies for tests."""

import json
from pathlib import Path

from dks_study.spec.files import SPACES
from dks_study.spec.study import StudySpec

ARMS = {
    "baseline": {"branches.taps": [], "loss.pairing": "none"},
    "ds": {"loss.pairing": "none"},
    "dense": {"loss.pairing": "dense"},
}


def plain_profile(folder: Path) -> Path:
    """Write the laptop's scale without its nuisance axes and races, so that only a space's own axes are searched."""
    laptop = (SPACES / "profiles" / "laptop.yaml").read_text().partition("search:")[0]
    path = folder / "plain.yaml"
    path.write_text(laptop + "search: {trials: 4, seed: 1000}\nreport_seeds: [0, 1, 2, 3, 4, 5]\n")
    return path


def small_study(trials=2, parallel=1, arms=tuple(ARMS), epochs=2, report_seeds=(0, 1), **trial) -> StudySpec:
    """Return a study on digits whose trials take a fraction of a second."""
    run = {
        "backbone": {"name": "resnet", "depth": 8, "base_channels": 4},
        "data": {"name": "digits", "label_noise": 0.4},
        "branches": {"taps": ["stage1", "stage2"]},
        "optimiser": {"lr": 0.05, "batch_size": 256},
        "epochs": epochs,
        **trial,
    }
    search = {"trials": trials, "parallel": parallel, "seed": 99}
    if trials:
        search["axes"] = {"optimiser.lr": {"float": [0.01, 0.2], "log": True}}
    values = {
        "name": "small",
        "question": "Does it work?",
        "profile": "test",
        "trial": run,
        "arms": {arm: ARMS[arm] for arm in arms},
        "search": search,
        "report_seeds": list(report_seeds),
        "table": {"title": "Small", "reference": arms[0]},
    }
    return StudySpec.model_validate_json(json.dumps(values))
