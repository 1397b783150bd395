"""Searches with Ray really started: early stopping in both executors, several objectives, the mirror of a real run."""

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState
from whole_studies import finish, records

from dks_study.watch.mirror import open_storage

SPACE = """
question: Does it work?
profile: PROFILE
arms:
  dense: {loss.pairing: dense}
search:
  trials: 4
  SEARCH
table: {title: Small, reference: dense}
"""
PROFILE = """
about: seconds
trial:
  backbone: {name: resnet, depth: 8, base_channels: 4}
  branches: {taps: [stage1, stage2]}
  data: {name: digits, label_noise: 0.4}
  optimiser: {lr: 0.05, batch_size: 256}
  epochs: 2
search: {seed: 99}
report_seeds: [0]
"""
STOPPING = """early_stopping: {kind: asha, reduction: 2}
  points: [{optimiser.lr: 1.0e-6}]
  axes:
    optimiser.lr: {float: [1.0e-6, 0.3], log: true}"""
OBJECTIVES = """objectives: [val/top1/main, cost/macs_train]
  axes:
    branches.recipe: {choice: [paper, linear]}
    optimiser.lr: {choice: [0.05, 1.0e-6]}"""


def write(tmp_path, search):
    (tmp_path / "tiny.yaml").write_text(PROFILE)
    path = tmp_path / "small.yaml"
    path.write_text(SPACE.replace("PROFILE", str(tmp_path / "tiny.yaml")).replace("SEARCH", search))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_trial_that_falls_behind_is_stopped_and_gives_its_cpus_back(tmp_path, workers):
    space = write(tmp_path, STOPPING)
    trials = "2" if workers else "4"
    # Each group of two takes every CPU of a small machine: the next trial starts only if they have been given back.
    sets = (f"trial.resources.workers={workers}", f"search.trials={trials}")
    folder, out, err = finish(space, tmp_path / "results", *sets)
    assert err == ""
    ended = {record.cell.id: record.outcome for record in records(folder)}
    confirmed = [outcome for name, outcome in ended.items() if "-search-" not in name]
    assert len(ended) == int(trials) + len(confirmed)
    hopeless = ended["dense-search-1"]
    assert (hopeless.status, len(hopeless.steps)) == ("stopped", 1)
    assert {outcome.status for outcome in (ended["dense-search-0"], *confirmed)} == {"complete"}
    assert "dense-search-1: stopped: after epoch 1: val/top1/main" in out
    storage = open_storage(None, folder)
    mirrored = optuna.load_study(study_name=f"{folder.name}/dense", storage=storage).trials
    assert [trial.user_attrs["trial"] for trial in mirrored] == [f"dense-search-{i}" for i in range(int(trials))]
    assert mirrored[1].state is TrialState.PRUNED
    assert mirrored[1].intermediate_values == {1: hopeless.steps[0]}
    trained = pd.read_parquet(folder / "epochs.parquet").groupby("trial").size()
    assert trained["dense-search-1"] == 1
    before = (folder / "table.md").read_bytes()
    finish(space, tmp_path / "results", *sets)
    assert (folder / "table.md").read_bytes() == before
    assert len(records(folder)) == len(ended), "a stopped trial does not go on"


@pytest.mark.slow
def test_several_objectives_end_with_a_front_whose_members_are_confirmed(tmp_path):
    folder, out, err = finish(write(tmp_path, OBJECTIVES), tmp_path / "results", "report_seeds=[0, 1]")
    assert err == ""
    front = pd.read_csv(folder / "pareto.csv", keep_default_na=False)
    assert "### Pareto fronts" in out
    assert front["val/top1/main"].is_monotonic_decreasing
    assert front["cost/macs_train"].is_monotonic_decreasing, "less accuracy is worth less cost alone"
    table = pd.read_csv(folder / "table.csv")
    assert list(table["arm"]) == [*front["row"], "dense (as written)"]
    assert (table["n"] == 2).all()
    searched = [record for record in records(folder) if record.cell.phase == "search"]
    assert len({str(record.cell.setting) for record in searched}) == len(searched) == 4
    mirrored = optuna.load_study(study_name=f"{folder.name}/dense", storage=open_storage(None, folder))
    assert len(mirrored.best_trials) == len(front)
    assert mirrored.metric_names == ["val/top1/main", "cost/macs_train"]


@pytest.mark.slow
def test_a_storage_that_cannot_be_reached_is_refused_before_anything_starts(tmp_path):
    url = "sqlite:////nowhere/at/all.db"
    space = write(tmp_path, STOPPING)
    _, out, err = finish(space, tmp_path / "results", code=2, options=("--optuna-storage", url))
    assert err == f"run_study: --optuna-storage {url}: unable to open database file\n"
    assert "Ray" not in out
