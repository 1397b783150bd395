"""The trials of a study as runs of Weights & Biases, for people who compare runs there: one run per trial.

Runs that differ in their seed alone are a group, as the averages of a W&B workspace want it. Like MLflow's runs they
are written and never read for a decision. With WANDB_MODE=offline they stay in the study's folder, for `wandb sync`.
"""

import os
import re
from pathlib import Path
from typing import Any

from dks_study.spec.base import Problem
from dks_study.spec.study import StudySpec
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome, read_epochs
from dks_study.watch.progress import Metrics

_PROJECT = re.compile(r"(?:[\w.-]+/)?[\w.-]{1,128}")
_SENT = "wandb/sent.txt"  # a line for each trial that has ended there, with its project
_PATIENCE_S = 10


class WandbError(Problem, RuntimeError):
    """W&B cannot be used; the message is one line."""


class WandbRuns:
    """Writes what happens to trials into a project of W&B."""

    name = "W&B"

    def __init__(self, project: str, study: StudySpec, folder: Path) -> None:
        """Get ready to write into `project`, or ENTITY/PROJECT.

        Raises:
            WandbError: if that is no name, the package is not installed, or nobody is logged in.
        """
        if not _PROJECT.fullmatch(project):
            raise WandbError(f"--wandb: must be PROJECT or ENTITY/PROJECT, got {project!r}")
        self._entity, _, self._project = project.rpartition("/")
        self._study, self._folder, self._sent = study, folder.resolve(), folder.resolve() / _SENT
        self._wandb = _opened()
        self._runs: dict[str, Any] = {}  # those that are open, by id of the trial
        self._last: dict[str, int] = {}  # their last epoch that was logged

    def started(self, cell: Cell) -> None:
        """A trial begins, or goes on."""
        self._run(cell)

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """A trial reports."""
        self._fill(cell, before=int(metrics["epoch"]))
        self._log(cell, metrics)

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """A trial has ended, perhaps in an earlier session that knew nothing of W&B."""
        line = f"{self._entity}/{self._project} {cell.id}\n"
        if (
            earlier
            and self._sent.is_file()
            and line in self._sent.read_text(encoding="utf-8").splitlines(keepends=True)
        ):
            return
        self._fill(cell, before=cell.epochs + 1)
        run = self._runs.pop(cell.id)
        run.summary.update({"status": outcome.status, **({"error": outcome.error} if outcome.error else {})})
        run.finish(exit_code=int(outcome.lost))
        self._sent.parent.mkdir(exist_ok=True)
        with self._sent.open("a", encoding="utf-8") as file:
            file.write(line)

    def end(self) -> None:
        """Say of trials that did not end that they were interrupted."""
        for run in self._runs.values():
            run.summary["status"] = "interrupted"
            run.finish(exit_code=1)
        self._wandb.teardown()

    def _run(self, cell: Cell) -> Any:  # noqa: ANN401  # W&B is an extra: its types may not be there
        if cell.id not in self._runs:
            known = {"study": self._study.name, "arm": cell.arm, "phase": cell.phase, "seed": cell.seed}
            self._runs[cell.id] = self._wandb.init(
                entity=self._entity or None,
                project=self._project,
                id=f"{self._folder.name}-{cell.id}",
                name=cell.name,
                group=f"{self._folder.name}/{cell.name.rpartition('/')[0]}",
                job_type=cell.phase,
                tags=[self._study.name],
                config={**known, "epochs": cell.epochs, **self._study.arms[cell.arm], **cell.setting},
                dir=str(self._folder),
                resume="allow",
                reinit="create_new",  # several run at a time
                settings=_settings(self._wandb),
            )
            self._last[cell.id] = 0
        return self._runs[cell.id]

    def _fill(self, cell: Cell, before: int) -> None:
        """Log the epochs before `before` that are in the trial's own file alone."""
        self._run(cell)
        if self._last[cell.id] < before - 1:
            for metrics in read_epochs(self._folder / "trials" / cell.id):
                if metrics["epoch"] < before:
                    self._log(cell, metrics)

    def _log(self, cell: Cell, metrics: Metrics) -> None:
        epoch = int(metrics["epoch"])
        if epoch > self._last[cell.id]:
            self._run(cell).log(dict(metrics), step=epoch)  # what W&B has of a step already it leaves as it is
            self._last[cell.id] = epoch


def _opened() -> Any:  # noqa: ANN401
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        import wandb
    except ImportError as error:
        raise WandbError("--wandb: W&B is not installed: pip install '.[wandb]'") from error
    try:
        if wandb.setup().settings.mode == "online":
            wandb.login(timeout=_PATIENCE_S)
    except Exception as error:  # it has many of its own
        raise WandbError(f"--wandb: {' '.join(str(error).split())} (WANDB_MODE=offline needs no login)") from error
    return wandb


def _settings(wandb: Any) -> Any:  # noqa: ANN401
    """Return settings with which W&B hears of the metrics alone: no console, no machine, no code, no git."""
    private = {"x_disable_stats": True, "x_disable_meta": True, "disable_git": True, "disable_code": True}
    return wandb.Settings(console="off", silent=True, init_timeout=_PATIENCE_S, **private)
