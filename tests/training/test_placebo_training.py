"""Placebos in training: what is drawn follows from seed and step, and data without their sense are refused."""

import pytest
import torch
from studies import small_study
from test_trainer import HERE, lasting, reports, trial_of

from dks_study.training.arm_checks import StudyError, check_arms
from dks_study.training.checkpoint import load_state
from dks_study.training.data import load
from dks_study.training.trainer import Chosen, fit

SMALL = {"backbone": {"name": "resnet", "depth": 8, "base_channels": 2}}


def placebo(signal, epochs=2, **setting):
    values = {"loss.teacher_signal": signal, **{f"loss.{key}": value for key, value in setting.items()}}
    return trial_of(setting=values, epochs=epochs, phase="confirm", **SMALL)


@pytest.mark.parametrize(
    "setting",
    [
        {"signal": "other_images", "keep_gradient_size": True},
        {"signal": "wrong_classes"},
        pytest.param({"signal": "start", "keep_gradient_size": True}, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_placebo_permutes_as_if_it_had_never_stopped(tmp_path, setting):
    trial = placebo(**setting)
    whole = reports(trial)[-1]
    first = fit(trial, load(trial.data), HERE)
    report = next(first)
    report.state.save(tmp_path / "last.pt")
    first.close()
    torch.manual_seed(123)  # whatever else has drawn in between
    state = load_state(tmp_path / "last.pt", trial.content_hash())
    rest = reports(trial, state, Chosen(1, report.metrics["val/top1/main"], state.shipped))[-1]
    assert lasting(rest.metrics) == lasting(whole.metrics)
    assert all(torch.equal(value, rest.state.network[key]) for key, value in whole.state.network.items())


def test_a_placebo_costs_what_knowledge_costs_and_differs_in_what_is_learned_alone():
    knowledge, other = (reports(placebo(signal, epochs=1))[-1] for signal in ("knowledge", "other_images"))
    costs = [{k: v for k, v in each.metrics.items() if k.startswith("cost/")} for each in (knowledge, other)]
    assert costs[0] == costs[1] != {}
    assert knowledge.metrics.keys() == other.metrics.keys()
    assert knowledge.metrics["train/loss"] != other.metrics["train/loss"]


def test_of_two_classes_none_is_permuted_with_another(tmp_path, monkeypatch):
    study = small_study(
        trials=0, arms=("dense",), data={"name": "two_classes:images"}, loss={"teacher_signal": "wrong_classes"}
    )
    (tmp_path / "two_classes.py").write_text(
        "import numpy as np\n"
        "def images():\n"
        "    pixels, labels = np.arange(600 * 64, dtype=np.uint8).reshape(600, 8, 8, 1), np.arange(600) % 2\n"
        "    names = ('train_images', 'train_labels', 'test_images', 'test_labels')\n"
        "    return dict(zip(names, (pixels, labels, pixels[:8], labels[:8]), strict=True))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StudyError, match=r"arms\.dense: trial\.loss\.teacher_signal: must not be wrong_classes with t"):
        check_arms(study)
