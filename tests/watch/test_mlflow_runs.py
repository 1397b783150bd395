"""Trials as MLflow runs, in a real SQLite store."""

import importlib.util
import json
import time

import pytest
from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
from dks_study.watch.mlflow_runs import MLflowError, MLflowRuns, _client

if importlib.util.find_spec("mlflow") is None:  # which takes seconds to import: not where these tests are left out
    pytest.skip("pip install '.[mlflow]'", allow_module_level=True)

CELL = Cell("dense", "confirm", 1, 1, 3, {"optimiser.lr": 0.1})
# What MLflow's own packages do while they are imported and closed is not ours.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def metrics(epoch):
    return {"epoch": float(epoch), ACCURACY: 50.0 + epoch, "train/kl/main>stage1": 0.5}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A store without runs: making its tables takes MLflow seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    _client(f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "small-1"
    (folder / "trials" / CELL.id).mkdir(parents=True)
    return folder


@pytest.fixture
def uri(tmp_path, empty):
    (tmp_path / "mlflow.db").write_bytes(empty)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def runs(uri):
    """{run name: run} of the study's experiment; a name that is there twice is an error."""
    client = _client(uri)
    found = client.search_runs([client.get_experiment_by_name("small-1").experiment_id])
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found), "doubled"
    return named


def history(uri, run, key=ACCURACY):
    return [(metric.step, metric.value) for metric in _client(uri).get_metric_history(run.info.run_id, key)]


def keep(folder, *epochs):
    lines = "".join(json.dumps(metrics(epoch)) + "\n" for epoch in epochs)
    (folder / "trials" / CELL.id / "epochs.jsonl").write_text(lines)


def test_a_trial_is_a_run_with_params_metrics_and_status(uri, folder):
    mlflow = MLflowRuns(uri, small_study(), folder)
    mlflow.started(CELL)
    assert runs(uri)["dense/confirm/seed1"].info.status == "RUNNING"
    for epoch in (1, 2, 3):
        mlflow.epoch(CELL, metrics(epoch))
    mlflow.settled(CELL, Outcome("complete", metrics(3)))
    mlflow.end()
    run = runs(uri)["dense/confirm/seed1"]
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "arm": "dense",
        "phase": "confirm",
        "seed": "1",
        "epochs": "3",
        "loss.pairing": "dense",
        "optimiser.lr": "0.1",
    }
    assert history(uri, run) == [(1, 51.0), (2, 52.0), (3, 53.0)]
    assert run.data.metrics["train/kl/main_to_stage1"] == 0.5


def test_a_study_that_goes_on_doubles_neither_runs_nor_epochs(uri, folder):
    first = MLflowRuns(uri, small_study(), folder)
    first.started(CELL)
    first.epoch(CELL, metrics(1))
    first.epoch(CELL, metrics(2))
    first.end()  # Ctrl-C
    assert runs(uri)["dense/confirm/seed1"].info.status == "KILLED"
    keep(folder, 1)
    second = MLflowRuns(uri, small_study(), folder)
    second.started(CELL)
    assert runs(uri)["dense/confirm/seed1"].info.status == "RUNNING"
    second.epoch(CELL, metrics(2))
    second.epoch(CELL, metrics(3))
    second.settled(CELL, Outcome("complete", metrics(3)))
    MLflowRuns(uri, small_study(), folder).settled(CELL, Outcome("complete", metrics(3)), earlier=True)
    assert history(uri, runs(uri)["dense/confirm/seed1"]) == [(1, 51.0), (2, 52.0), (3, 53.0)]


def test_what_ran_without_mlflow_is_filled_in(uri, folder):
    keep(folder, 1, 2, 3)
    mlflow = MLflowRuns(uri, small_study(), folder)
    mlflow.settled(CELL, Outcome("complete", metrics(3)), earlier=True)
    lost = Cell("ds", "search", 0, 99, 1, {})
    mlflow.settled(lost, Outcome("diverged", {}, "not finite"), earlier=True)
    named = runs(uri)
    assert history(uri, named["dense/confirm/seed1"]) == [(1, 51.0), (2, 52.0), (3, 53.0)]
    assert named["ds/search/0"].info.status == "FAILED"
    assert named["ds/search/0"].data.tags["error"] == "not finite"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mlruns", "--mlflow: must be a URI such as sqlite:///mlflow.db or http://HOST:5000, got 'mlruns'"),
        ("postgresql://me:geheim@127.0.0.1:1/x", r"--mlflow postgresql://me:\*\*\*@127.0.0.1:1/x: "),
        ("nothing://x", "--mlflow nothing://x: "),
        ("sqlite:////proc/nowhere/mlflow.db", "--mlflow sqlite:////proc/nowhere/mlflow.db: .*No such file"),
        ("sqlite:////tmp", "--mlflow sqlite:////tmp: unable to open database file"),
    ],
)
def test_what_cannot_be_used_is_refused_soon_in_one_line_without_its_password(folder, uri, message, capfd):
    _client("http://127.0.0.1:1")  # imports MLflow
    before = time.monotonic()
    with pytest.raises(MLflowError, match=message) as raised:
        MLflowRuns(uri, small_study(), folder)
    assert time.monotonic() - before < 5
    assert capfd.readouterr().err == "", "no warning beside it"
    assert "geheim" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_folder_of_a_new_database_is_made(folder, tmp_path, empty):
    MLflowRuns(f"sqlite:///{tmp_path}/a/b/mlflow.db", small_study(), folder).started(CELL)
    assert list(runs(f"sqlite:///{tmp_path}/a/b/mlflow.db")) == ["dense/confirm/seed1"]


def test_a_store_that_fails_later_raises_one_line_without_its_password(uri, folder, monkeypatch):
    mlflow = MLflowRuns(uri, small_study(), folder)
    mlflow._uri = "http://me:geheim@host"

    def fail(*_args, **_options):
        raise ConnectionError("no http://me:geheim@host\nand more")

    monkeypatch.setattr(mlflow._client, "create_run", fail)
    with pytest.raises(MLflowError) as raised:
        mlflow.started(CELL)
    assert str(raised.value) == "no http://me:***@host"
