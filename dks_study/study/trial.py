"""One trial in its own folder: trains, keeps what a crash must not lose, and leaves how it ended.

    trials/<id>/trial.json     the TrialSpec
                origin.json    what its numbers come from besides: code, versions, machine
                epochs.jsonl   one line of metrics per epoch
                last.pt        the state after the last whole epoch
                best.pt        that of the epoch with the best validation accuracy (the last one of equals)
                predictions.npz   what it says of each test image, if it is a confirmation that keeps them
                parts.json     in how many parts each batch is trained since the trial ran out of memory
                error.txt      what ended the latest attempt, if an error did
                log.txt        what happened when
                outcome.json   written last: how the trial ended

All workers of a trial read the folder; rank 0 writes it. A trial that is started again goes on after its last epoch.
"""

import fcntl
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path

import torch

from dks_study.spec.base import in_one_line
from dks_study.spec.data import DataSpec
from dks_study.spec.objectives import ACCURACY
from dks_study.spec.trial import KeepPredictions, TrialSpec
from dks_study.study.failures import causes, first_line
from dks_study.study.identity import keep_origin
from dks_study.study.ledger import EPOCHS, ERROR, OUTCOME, Outcome, read_epochs, write_outcome, write_whole
from dks_study.study.predictions import write_predictions
from dks_study.study.stopping import Watch
from dks_study.training.checkpoint import State, load_state
from dks_study.training.compute import keep_to_share
from dks_study.training.data import DataSet, load
from dks_study.training.team import NonFiniteLossError, Team
from dks_study.training.trainer import Chosen, EpochReport, fit

FENCE_TIMEOUT_S = 120.0
_PARTS = "parts.json"


def run_trial(
    trial: TrialSpec,
    folder: Path,
    device: torch.device,
    report: Callable[[dict[str, float]], None],
    watch: Watch | None = None,
    read: Callable[[DataSpec], DataSet] = load,
    keep_predictions: KeepPredictions = "none",
) -> None:
    """Train `trial` in `folder`, calling `report` with `epoch` and its metrics after every epoch.

    `keep_predictions` says whose logits of the test images a confirmation leaves; that changes no number.
    A trial that diverges, or is stopped early by `watch`, ends normally (its outcome says so). Any other error is
    written to error.txt and raised.
    """
    team = Team.here(device)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder) if team.rank == 0 else nullcontext():
        try:
            _train(trial, folder, team, report, watch, read, trial.predicting(keep_predictions))
        except (Exception, SystemExit) as error:
            with suppress(OSError):  # the disk may be full
                (folder / ERROR).write_text(traceback.format_exc(), encoding="utf-8")
                _log(folder, traceback.format_exc())
            if isinstance(error, SystemExit):  # of a network of one's own: Tune would take it for the end of the trial
                raise RuntimeError(f"the trial ended its process: {in_one_line(error)}") from error
            raise


def read_error(folder: Path, why: BaseException | None = None) -> str:
    """Return one line about the error that ended the trial in `folder`, or, if it left no word, about `why`."""
    path = folder / ERROR
    lines = path.read_text(encoding="utf-8").strip().splitlines() if path.exists() else []
    if lines:
        return lines[-1]
    died = "the trial's process died without a word (killed, or out of memory)"
    return first_line(list(causes(why))[-1]) if why else died


def in_parts(trial: TrialSpec, parts: int) -> TrialSpec:
    """Return `trial` with its batches in `parts`."""
    return trial.model_copy(update={"optimiser": trial.optimiser.model_copy(update={"accumulate": parts})})


def most_parts(trial: TrialSpec) -> int:
    """Return the largest number of parts of a batch with at least two images in each."""
    return trial.optimiser.batch_size // max(1, trial.resources.workers) // 2


def train_in_parts(folder: Path, parts: int) -> str:
    """Let the trial in `folder` be trained from its first epoch, in `parts`; return the file that remembers it."""
    # The outcome first: after a crash before the end the trial runs out of memory again, and no number is skipped.
    for name in (OUTCOME, "last.pt", "best.pt"):
        (folder / name).unlink(missing_ok=True)
    write_whole(folder / _PARTS, json.dumps(parts))
    return _PARTS


def read_parts(folder: Path) -> int | None:
    """Return in how many parts the trial in `folder` is trained after having run out of memory; None: it has not."""
    try:
        return int(json.loads((folder / _PARTS).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _train(
    trial: TrialSpec,
    folder: Path,
    team: Team,
    report: Callable[[dict[str, float]], None],
    watch: Watch | None,
    read: Callable[[DataSpec], DataSet],
    predicting: Sequence[str],
) -> None:
    keep_to_share(trial, team.device)
    state = load_state(folder / "last.pt", trial.content_hash())
    kept = _keep_epochs(folder, state.epoch if state else 0, write=team.rank == 0)
    chosen = _chosen(trial, folder, state, kept)
    if state and (len(kept) < state.epoch or (trial.phase == "confirm" and chosen is None)):
        # Lines or the best checkpoint are damaged: they can only be had again by training.
        state, kept = None, _keep_epochs(folder, 0, write=team.rank == 0)
    metrics = kept[-1] if kept else {}
    watch = watch or Watch(None)
    steps = [line[watch.metric] for line in kept] if watch.metric else []
    keep_origin(folder, trial, team, anew=state is None)
    if team.rank == 0:
        write_whole(folder / "trial.json", trial.model_dump_json(indent=1))
        _log(folder, f"start after epoch {state.epoch if state else 0} on {team.size} x {team.device}")
    best = max((line[ACCURACY] for line in kept), default=0.0)
    if state and team.rank == 0 and metrics[ACCURACY] == best:
        _keep_best(folder)  # a crash may have come before
    try:
        # A crash may have come between a trial's last epoch and its outcome.
        why = watch.verdict(steps)
        if why is not None or (state and state.epoch == trial.epochs):
            report(metrics)  # nothing is left to do: Tune still waits for a report
        data = read(trial.data) if why is None else None
        for epoch in fit(trial, data, team, state, chosen, costs=watch.costs, predicting=predicting) if data else ():
            metrics = {"epoch": float(epoch.epoch), **epoch.metrics}
            if team.rank == 0:
                best = max(best, metrics[ACCURACY])
                _keep(folder, epoch, metrics, is_best=metrics[ACCURACY] == best)
            report(metrics)
            # Metrics are means over all workers: every one of them comes to the same verdict.
            if watch.metric:
                steps.append(metrics[watch.metric])
                why = watch.verdict(steps)
            if why is not None:
                break
        outcome = Outcome("complete" if why is None else "stopped", metrics, why, steps)
    except NonFiniteLossError as error:
        outcome = Outcome("diverged", {}, str(error), steps)
    if team.rank == 0:
        _log(folder, f"{outcome.status} {outcome.error or ''}")
        write_outcome(folder, outcome)


def _chosen(trial: TrialSpec, folder: Path, state: State | None, kept: list[dict[str, float]]) -> Chosen | None:
    """Return the epoch that validation chose until `state`, from the best checkpoint; None: it cannot be had."""
    if state is None or len(kept) < state.epoch:
        return None
    best = max(line[ACCURACY] for line in kept)
    # After a crash between the two checkpoints the best one may be older than the last one.
    source = state if kept[-1][ACCURACY] == best else load_state(folder / "best.pt", trial.content_hash())
    if source is None or kept[source.epoch - 1][ACCURACY] != best:
        return None
    return Chosen(source.epoch, best, source.shipped)


def _keep(folder: Path, epoch: EpochReport, metrics: dict[str, float], *, is_best: bool) -> None:
    if epoch.predicted:  # before the epoch counts as trained, as it is then never looked at again
        names, logits, labels = epoch.predicted
        write_predictions(folder, names, logits.numpy(), labels.numpy())
    # The line first: after a crash between the two the epoch is trained again and its line replaced.
    with (folder / EPOCHS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")
    epoch.state.save(folder / "last.pt")
    if is_best:
        _keep_best(folder)
    shown = ", ".join(f"{key} {metrics[key]:.4g}" for key in ("train/loss", "val/top1/main", "time/train_s"))
    _log(folder, f"epoch {epoch.epoch}: {shown}")


def _keep_best(folder: Path) -> None:
    """Let best.pt be what last.pt is now."""
    temporary = folder / "best.tmp"
    temporary.unlink(missing_ok=True)
    os.link(folder / "last.pt", temporary)  # costs nothing: last.pt is replaced, never written into
    temporary.replace(folder / "best.pt")


def _keep_epochs(folder: Path, done: int, *, write: bool) -> list[dict[str, float]]:
    """Drop the lines of epochs that will be trained again; return the metrics of epochs 1 to `done`."""
    kept = [line for line in read_epochs(folder) if line["epoch"] <= done]
    if write:
        write_whole(folder / EPOCHS, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def _log(folder: Path, text: str) -> None:
    with (folder / "log.txt").open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text.rstrip()}\n")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: a worker that outlived a killed study must not write beside its successor."""
    with (folder / "lock").open("w") as file:
        for _ in range(int(FENCE_TIMEOUT_S / 0.2)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2)
        else:
            raise TimeoutError(f"another process has been training in {folder} for {FENCE_TIMEOUT_S:.0f} s")
        yield
