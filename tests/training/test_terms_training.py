"""Runs whose loss has named terms: what they report, that they resume exactly, that others pay nothing for them."""

import copy
from functools import cache

import pytest
import torch
from studies import small_study

from dks_study.method.networks import build_network
from dks_study.spec.files import load_study
from dks_study.spec.shipped import SPACES
from dks_study.spec.study import arm_trial
from dks_study.study.export import trained_network
from dks_study.training.data import load
from dks_study.training.team import Team
from dks_study.training.trainer import Chosen, fit

HERE = Team.here(torch.device("cpu"))
TERMS = {
    "hint": {"kind": "hint", "pairs": ["stage3>stage2"], "weight": 0.5, "warmup": 0.5},
    "near": {"kind": "embedding", "pairs": ["from_main"], "weight": 0.03},
    "dkd": {"kind": "dkd", "pairs": ["main>stage1"], "weight": 0.1},
}
FAMILY = SPACES.parent / "docs" / "method" / "family.md"


def trial_of(terms=TERMS, epochs=2, phase="confirm", **trial):
    study = small_study(trials=0, loss={"terms": terms}, **trial)
    return arm_trial(study, "ds", {}, epochs=epochs, phase=phase, seed=0)


@cache
def reports(**keys):
    trial = trial_of(**keys)
    return list(fit(trial, load(trial.data), HERE))


NAMES = ("hint/stage3>stage2", "near/main>stage1", "near/main>stage2", "dkd/main>stage1")


def test_every_pair_of_every_term_has_its_columns():
    last = reports()[-1].metrics
    for split in ("train", "val", "test", "test_chosen"):
        assert [key for key in last if key.startswith(f"{split}/term/")] == [f"{split}/term/{name}" for name in NAMES]
        assert all(last[f"{split}/term/{name}"] > 0 for name in NAMES)


def test_the_total_is_the_sum_of_what_is_reported():
    last = reports()[-1].metrics  # after the warm-up, in every step of the second epoch
    parts = {name: last[f"train/term/{name}"] for name in NAMES}
    weighted = 0.5 * parts[NAMES[0]] + 0.03 * (parts[NAMES[1]] + parts[NAMES[2]]) + 0.1 * parts[NAMES[3]]
    ce = sum(last[f"train/loss/{name}"] for name in ("stage1", "stage2", "main"))
    assert last["train/loss"] == pytest.approx(ce + weighted, rel=1e-5)


def test_a_run_without_terms_reports_none_and_costs_nothing():
    plain = trial_of({})
    *_, last = fit(plain, load(plain.data), HERE)
    assert not [key for key in last.metrics if "/term/" in key]
    mine = reports()[-1].metrics
    assert mine["cost/params_train"] > last.metrics["cost/params_train"]
    assert mine["cost/macs_train"] > last.metrics["cost/macs_train"]
    assert mine["cost/params_inference"] == last.metrics["cost/params_inference"]
    assert mine["val/loss/main"] != last.metrics["val/loss/main"]


@pytest.mark.parametrize("optimiser", [{}, pytest.param({"ema_decay": 0.9}, marks=pytest.mark.slow)])
def test_a_resumed_run_is_the_uninterrupted_one_and_ships_the_own_network(optimiser):
    trial = trial_of(optimiser={"lr": 0.05, "batch_size": 256, **optimiser})
    data = load(trial.data)
    _, last = fit(trial, data, HERE)
    first = next(iter(fit(trial, data, HERE)))
    chosen = Chosen(1, first.metrics["val/top1/main"], copy.deepcopy(first.state.shipped))
    (resumed,) = fit(trial, data, HERE, first.state, chosen)
    assert resumed.metrics["test/loss"] == last.metrics["test/loss"]
    assert resumed.metrics["test/term/hint/stage3>stage2"] == last.metrics["test/term/hint/stage3>stage2"]
    shipped = trained_network(trial, last.state)
    shape = data.image_shape
    alike = build_network(trial_of({}), shape[0], data.classes, 0, shape[1:])
    assert shipped.state_dict().keys() == alike.state_dict().keys()
    images = data.normalise(data.test.images[:8])
    assert torch.equal(shipped.plain()(images), shipped(images)["main"])


def test_half_precision_trains_terms_too():
    trial = trial_of(epochs=1, compute={"precision": "bfloat16"})
    (report,) = fit(trial, load(trial.data), HERE)
    assert all(report.metrics[f"train/term/{name}"] > 0 for name in NAMES)


def test_the_table_of_the_family_has_a_row_for_each_arm():
    table = FAMILY.read_text(encoding="utf-8").partition("## ")[0]
    arms = [line.split("|")[2].strip(" `") for line in table.splitlines() if line.startswith("|")][2:]
    assert sorted(arms) == sorted(load_study("against_the_family").arms)
