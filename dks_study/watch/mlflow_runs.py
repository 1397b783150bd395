"""The trials of a study as MLflow runs, for people who compare runs there: one experiment per study, one run per trial.

Like Optuna's storage it is written and never read for a decision. What is missing in it is filled in from the ledger
and the trials' own files when a study goes on.
"""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dks_study.spec.base import Problem
from dks_study.spec.study import StudySpec
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome, read_epochs
from dks_study.watch.progress import Metrics
from dks_study.watch.urls import error_line, without_password

_TRIAL = "trial"  # the tag that holds our id of a trial
_STATES = {"complete": "FINISHED", "stopped": "KILLED"}  # what else ends a trial is a failure
# A server that hangs must not hold up a study for the minutes that MLflow would wait; and nothing is reported home.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
DATABASE_TIMEOUT_S = 10


class MLflowError(Problem, RuntimeError):
    """MLflow cannot be used; the message is one line and holds no password."""


@dataclass
class _Run:
    """What MLflow has of a trial."""

    id: str
    epoch: int  # the last that was logged
    ended: bool


class MLflowRuns:
    """Writes what happens to trials into the MLflow at a URI."""

    name = "MLflow"

    def __init__(self, uri: str, study: StudySpec, folder: Path) -> None:
        """Open the study's experiment, which has the name of its `folder`.

        Raises:
            MLflowError: if the package is not installed, or there is no MLflow at `uri`.
        """
        if "://" not in uri:
            raise MLflowError(f"--mlflow: must be a URI such as sqlite:///mlflow.db or http://HOST:5000, got {uri!r}")
        self._uri, self._study, self._folder = uri, study, folder
        try:
            self._client = _client(uri)
            self._experiment = self._open(folder.resolve().name)
            self._runs = dict(self._known())
        except MLflowError:
            raise
        except Exception as error:  # each kind of store has errors of its own
            raise MLflowError(f"--mlflow {without_password(uri)}: {error_line(error, uri)}") from error

    def started(self, cell: Cell) -> None:
        """A trial begins, or goes on."""
        with self._without_password():
            run = self._run(cell)
            self._client.update_run(run.id, status="RUNNING")
            run.ended = False

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """A trial reports; an epoch that is trained again after a crash is there already, with the same numbers."""
        with self._without_password():
            run = self._run(cell)
            self._fill(run, cell, before=int(metrics["epoch"]))
            self._log(run, metrics)

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """A trial has ended."""
        with self._without_password():
            run = self._run(cell)
            if run.ended:
                return
            self._fill(run, cell, before=cell.epochs + 1)
            self._client.set_tag(run.id, "status", outcome.status)
            if outcome.error:
                self._client.set_tag(run.id, "error", outcome.error)
            self._client.set_terminated(run.id, _STATES.get(outcome.status, "FAILED"))
            run.ended = True

    def end(self) -> None:
        """Say of trials that did not end that they were interrupted."""
        with self._without_password():
            for run in self._runs.values():
                if not run.ended:
                    self._client.set_terminated(run.id, "KILLED")

    @contextmanager
    def _without_password(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise MLflowError(error_line(error, self._uri)) from error

    def _open(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        return str(known.experiment_id if known else self._client.create_experiment(name))

    def _known(self) -> Iterator[tuple[str, _Run]]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], page_token=token)
            for run in page:
                if _TRIAL in run.data.tags:
                    ended = "status" in run.data.tags
                    yield run.data.tags[_TRIAL], _Run(run.info.run_id, int(run.data.metrics.get("epoch", 0)), ended)
            token = page.token
            if not token:
                return

    def _run(self, cell: Cell) -> _Run:
        if cell.id not in self._runs:
            run = self._client.create_run(self._experiment, run_name=cell.name, tags={_TRIAL: cell.id})
            for key, value in described(self._study, cell).items():
                self._client.log_param(run.info.run_id, _key(key), value)
            self._runs[cell.id] = _Run(run.info.run_id, 0, ended=False)
        return self._runs[cell.id]

    def _fill(self, run: _Run, cell: Cell, before: int) -> None:
        """Log the epochs before `before` that are in the trial's own file alone."""
        if run.epoch < before - 1:
            for metrics in read_epochs(self._folder / "trials" / cell.id):
                if metrics["epoch"] < before:
                    self._log(run, metrics)

    def _log(self, run: _Run, metrics: Metrics) -> None:
        epoch = int(metrics["epoch"])
        if epoch > run.epoch:
            self._client.log_batch(run.id, _metrics(metrics, epoch))
            run.epoch = epoch


def _client(uri: str) -> Any:  # noqa: ANN401  # MLflow is an extra: its types may not be there
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MLflowError("--mlflow: MLflow is not installed: pip install '.[mlflow]'") from error
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if uri.partition("://")[0].partition("+")[0] in _DATABASES:
        _open_once(uri)
    return MlflowClient(uri)


def _open_once(uri: str) -> None:
    """Open a database, and make the folder of a SQLite file as MLflow does, which tries ten times for two minutes.

    Raises:
        Exception: what the database's driver raises if that fails.
    """
    from sqlalchemy import create_engine, make_url

    url = make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database and not url.database.startswith((":", "file:")):
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    timed = {"connect_timeout": DATABASE_TIMEOUT_S} if url.get_backend_name() in ("postgresql", "mysql") else {}
    engine = create_engine(url, connect_args=timed)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _metrics(metrics: Metrics, epoch: int) -> list[Any]:
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    return [Metric(_key(key), value, now_ms, epoch) for key, value in metrics.items()]


def _key(name: str) -> str:
    """Return `name` in the characters that MLflow takes: train/kl/main>stage1 becomes train/kl/main_to_stage1."""
    return re.sub(r"[^\w/. -]", "_", name.replace(">", "_to_"))


def described(study: StudySpec, cell: Cell) -> dict[str, Any]:
    """Return what is said of a trial in words: arm, phase, seed, what arm and setting change, the epochs it trains."""
    known = {"arm": cell.arm, "phase": cell.phase, "seed": cell.seed, "epochs": cell.epochs}
    return {**study.arms[cell.arm], **cell.setting, **known}
