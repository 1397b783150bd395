"""Studies from Python and notebooks: `load` a question, `run` it, `read` what a folder holds."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dks_study.spec import given
from dks_study.spec.base import Problem
from dks_study.spec.files import load_study
from dks_study.spec.reaching import not_here, reached
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Setting
from dks_study.spec.urls import shown
from dks_study.spec.yamldoc import SpecError
from dks_study.study.matching import matched

if TYPE_CHECKING:
    import pandas as pd

    from dks_study.study.export import TrainedNetwork
    from dks_study.study.predictions import Predictions
    from dks_study.study.results import Results

_STYLE = (
    "<style>.dks figure{margin:0 0 1em}.dks figcaption{font-weight:bold}.dks .note{margin:.2em 0;color:gray}</style>"
)


def load(space: str | Path, *, profile: str | Path | None = None, set: Mapping[str, object] | None = None) -> StudySpec:
    """Return the study that a space and a profile describe, as the command's `--space`, `--profile`, `--set` do.

    Args:
        space: a shipped question such as "dense_vs_oneway" (`dks-study --list`), or a YAML file.
        profile: a shipped scale or a YAML file; None takes the one that the space names.
        set: values by dotted key that take the place of what the files say, also of a section: {"trial.epochs": 10}.

    Raises:
        Problem: one line that names file, key, rule and value.
    """
    scale = None if profile is None else str(profile)
    return matched(load_study(str(space), scale, given.overrides({} if set is None else set)))


def run(
    study: StudySpec,
    results: str | Path = "results",
    *,
    address: str | None = None,
    storage: str | None = None,
    optuna_storage: str | None = None,
    disk_gib: float | None = None,
    mlflow: str | None = None,
    wandb: str | None = None,
    reuse: bool | str | Path = True,
    retry: Sequence[str] = (),
) -> "StudyResults":
    """Run a study to its end, or go on where it stopped, and return what it found.

    It is kept in a folder of its own in `results`: the same study given again goes on from there, and one that is done
    is only read. What else can be given changes no number; each is as the option of that name of the command.

    Args:
        study: what `load` returned.
        results: the folder of studies.
        address: of a Ray cluster to join, `auto` or HOST:PORT; by default Ray starts here and ends with the study.
        storage: a folder or a bucket's URL where the study is kept, too, and where trials write.
        optuna_storage: URL of a database that shows the search to optuna-dashboard.
        disk_gib: what checkpoints and predictions may take.
        mlflow: URI of an MLflow that shows every trial as a run.
        wandb: project of Weights & Biases that does.
        reuse: whether finished trials are adopted from the other studies in `results`; a folder, or the URL of one
            in a bucket: from there, too.
        retry: lost trials that get another try: their ids, or how they were lost (failed, diverged,
            out_of_memory, timed_out).

    Raises:
        Problem: one line, if the study cannot be run.
        KeyboardInterrupt: if it was interrupted; nothing that finished is lost.
    """
    where = {"address": address, "optuna_storage": optuna_storage, "disk_gib": disk_gib, "storage": storage}
    given.check_where({**where, "reuse": reuse, "mlflow": mlflow, "wandb": wandb}, retry)
    options = {**where, "reuse": reuse, "retry": retry}
    return carry_out(given.study(study), given.folder("results", results), options, mlflow, wandb)[0]


def carry_out(
    study: StudySpec, results: str | Path, where: Mapping[str, Any], mlflow: str | None, wandb: str | None = None
) -> tuple["StudyResults", str, str, str | None]:
    """Run a study as `run` does; return results, table as Markdown, where the report is, what the clock cut off."""
    _refuse_running_ray()
    from dks_study.engine.ray_settings import use_ray_settings

    use_ray_settings(alone=where["address"] is None)
    from dks_study.engine.session import Where, publish, running
    from dks_study.study.provenance import other_results
    from dks_study.study.reusing import reused
    from dks_study.watch.recorders import display

    folder = folder_of(study, results)
    place = Where(**{**where, "reuse": reused(Path(results), where["reuse"]), "retry": tuple(where["retry"])})
    print(study.question)
    print(f"results: {folder}", flush=True)
    with _made(folder) as is_new:
        if is_new and (note := other_results(study, folder)):
            print(note, flush=True)
        shown = display(study, folder, mlflow, wandb, place.storage)
        with running(study, folder, shown, place) as ending:
            shown.end()  # before the report takes the place of the page that is drawn meanwhile
            if not ending.complete and ending.missing is None:
                raise KeyboardInterrupt
            done = read(folder)
            text, report = done.write()
            publish(folder, place)
    return done, text, report, ending.missing


@contextmanager
def _made(folder: Path) -> Iterator[bool]:
    """Make a study's folder and say whether it is new; what was made goes again if a refused study leaves it empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"--results {folder}: {error.strerror}") from error
    try:
        yield bool(new)
    except Exception:
        with suppress(OSError):
            for path in new:
                path.rmdir()
        raise


def read(folder: str | Path) -> "StudyResults":
    """Return what the folder of a study holds; needs neither torch nor ray.

    Raises:
        Problem: one line, if these are not the results of a study.
    """
    from dks_study.study.results import load_results

    path = given.folder("folder", folder)
    return StudyResults(path, load_results(path))


def folder_of(study: StudySpec, results: str | Path) -> Path:
    """Return the folder in `results` that belongs to a study: its name, and a hash of its whole description.

    Raises:
        SpecError: if `results` is where nobody may look, or no folder.
    """
    if rule := not_here(results):
        hint = " (--storage takes one)" if rule.endswith("URL") else ""
        raise SpecError(f"--results: {rule}{hint}, got {shown(str(results))!r}")
    if (path := reached(Path(results), "--results ")).exists() and not path.is_dir():
        raise SpecError(f"--results must be a folder, got a file: {path}")
    return path / f"{study.name}-{study.content_hash()}"


@dataclass(frozen=True, repr=False)
class StudyResults:
    """What a study found. In a notebook it shows itself as its table.

    Attributes:
        folder: where everything about it is kept.
        found: the same as tidy frames, for the functions of `dks_study.analysis`.
    """

    folder: Path
    found: "Results"

    @property
    def study(self) -> StudySpec:
        """The description that was run."""
        return self.found.study

    @property
    def trials(self) -> "pd.DataFrame":
        """One row per trial that has ended; percentages are top-1 accuracies."""
        return self.found.trials

    @property
    def epochs(self) -> "pd.DataFrame":
        """One row per epoch of every trial."""
        return self.found.epochs

    @property
    def without_result(self) -> int:
        """How many trials failed, diverged or ran out of memory."""
        from dks_study.study.ledger import LOST

        return int(self.trials["status"].isin(LOST).sum())

    def table(self) -> "pd.DataFrame":
        """Return the table that answers the question, in percent test error, one row per row of it."""
        from dks_study.analysis.tables.study import arm_table

        return arm_table(self.found).rows

    def choice(self, arm: str, repeat: int = 0) -> Setting:
        """Return what one of the independent searches chose for `arm`, by dotted key; {}: nothing was searched.

        Raises:
            Problem: if there is no such arm, or no confirmation trial of that search.
        """
        from dks_study.analysis.collect import confirmed_setting

        return confirmed_setting(self.found, self._row(arm), repeat)

    def network(self, arm: str, exit: str | None = None) -> "TrainedNetwork":
        """Return the network that ships of the confirmed trial of `arm` that is best on validation.

        Args:
            arm: a row of the table.
            exit: the branch to cut it at, such as "stage1"; None: the whole backbone.

        Raises:
            Problem: if there is no such arm, or its checkpoint was not kept (`keep: none`).
        """
        from dks_study.study.export import load_trained

        confirmed = self.trials[(self.trials["row"] == self._row(arm)) & (self.trials["phase"] == "confirm")]
        folders = [self.folder / "trials" / str(trial) for trial in confirmed["trial"]]
        kept = [folder for folder in folders if (folder / "last.pt").is_file()]
        if not kept:
            raise Problem(f"{self.folder}: no checkpoint of {arm} is there (keep: {self.study.keep})")
        best = confirmed.set_index("trial")["val/top1/main"]
        return load_trained(max(kept, key=lambda folder: best[folder.name]), exit)

    def predictions(self, arm: str) -> Mapping[int, "Predictions"]:
        """Return what the confirmed trials of `arm` said of the test images, by seed: logits [N, C] and labels [N].

        Trials that kept none are not there: of a study from before there were any, or with `keep_predictions: none`.

        Raises:
            Problem: if there is no such arm.
        """
        mine = self.trials[(self.trials["row"] == self._row(arm)) & (self.trials["phase"] == "confirm")]
        known = zip(mine["seed"], map(self.found.predictions, mine["trial"]), strict=True)
        return {int(seed): each for seed, each in known if each is not None}

    def quality(self) -> "pd.DataFrame":
        """Return how good predictions are beyond their error: a row per trial, as the report has it over seeds.

        Columns: row (of the table), seed, error (%), nll (nats), brier (0 to 2), ece (%: 15 bins of equally many
        images), calibration (%²: squared, corrected for sampling), refusing_10 and refusing_20 (error in % when so many
        percent are refused), and branches (error in % of all classifiers together) where those were kept.
        """
        from dks_study.analysis.predicted import predicted
        from dks_study.analysis.tables.predictions import quality

        return quality(predicted(self.found))

    def report(self) -> Path:
        """Write report.html and the tables for LaTeX into the folder; return the report's path."""
        from dks_study.analysis.report.page import write_report

        return write_report(self.found, self.folder)

    def write(self) -> tuple[str, str]:
        """Write table and report into the folder; return the table as Markdown, and where the report is."""
        from dks_study.analysis.report.page import try_report
        from dks_study.analysis.tables.study import write_tables

        return write_tables(self.found, self.folder), try_report(self.found, self.folder)

    def __str__(self) -> str:
        """Return the table as Markdown."""
        from dks_study.analysis.tables.study import arm_table, to_markdown

        return to_markdown(arm_table(self.found))

    def __repr__(self) -> str:
        """Say in a line what this is."""
        return f"<results of {self.study.name}: {len(self.trials)} trials in {self.folder}>"

    def _repr_html_(self) -> str:
        from dks_study.analysis.tables.grid import html
        from dks_study.analysis.tables.settings import setting_grid
        from dks_study.analysis.tables.study import arm_table, table_grid

        table = arm_table(self.found)
        both = (table_grid(table), setting_grid(table.settings))
        grids = [grid for grid in both if len(grid.header) > 1 and grid.rows]
        return f'{_STYLE}<div class="dks">{"".join(map(html, grids))}</div>'

    def _row(self, arm: str) -> str:
        rows = list(dict.fromkeys(map(str, self.trials[self.trials["phase"] == "confirm"]["row"])))
        if arm not in rows:
            raise Problem(f"arm: must be a row of the table ({', '.join(rows)}), got {arm!r}")
        return arm


def _refuse_running_ray() -> None:
    ray: Any = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        raise Problem("run: Ray already runs in this process, and a study starts its own: call ray.shutdown() first")
