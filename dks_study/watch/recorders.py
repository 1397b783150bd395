"""Who is told of a study: people, and whatever else keeps a record of it."""

from pathlib import Path

from dks_study.spec.study import StudySpec
from dks_study.watch.display import make_display, standard_console
from dks_study.watch.estimate import earlier_pace
from dks_study.watch.event_files import EventFiles
from dks_study.watch.gauges import StudyGauges
from dks_study.watch.live.beside import PageBeside
from dks_study.watch.mlflow_runs import MLflowRuns
from dks_study.watch.observers import Observed, Recorder
from dks_study.watch.wandb_runs import WandbRuns


def display(study: StudySpec, folder: Path, mlflow: str | None, wandb: str | None, storage: str | None) -> Observed:
    """Return what shows the study in `folder` to people and to all recorders: those that are asked for, too.

    Args:
        study: that runs.
        folder: where its results are.
        mlflow: URI of an MLflow; None: none.
        wandb: project of W&B; None: none.
        storage: where the study is kept, too, and trials write; None: in `folder`.

    Raises:
        MLflowError, WandbError: if there is no such thing.
    """
    recorders: list[Recorder] = [EventFiles(folder), StudyGauges(study, folder.name), PageBeside(folder, storage)]
    if mlflow is not None:
        recorders.append(MLflowRuns(mlflow, study, folder))
    if wandb is not None:
        recorders.append(WandbRuns(wandb, study, folder))
    return Observed(make_display(study, standard_console(), earlier_pace(study, folder)), recorders)
