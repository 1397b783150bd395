"""TensorBoard files of every trial, `trials/<id>/tensorboard/`: tensorboard --logdir results/STUDY/trials.

They hold what epochs.jsonl holds. A trial that goes on gets new files, written again from there, so that no epoch shows
twice and no half-written record is left.
"""

import shutil
import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome, read_epochs
from dks_study.watch.progress import Metrics


class EventFiles:
    """Writes the epochs of running trials as they are reported."""

    name = "TensorBoard files"

    def __init__(self, folder: Path) -> None:
        """Write below the study's `folder`."""
        self._folder = folder
        self._writers: dict[str, tuple[EventsWriter, int]] = {}  # by trial, and the epoch that it wrote last

    def started(self, cell: Cell) -> None:
        """Nothing: a trial that goes on says where with its first epoch."""

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """Write the metrics of an epoch."""
        epoch = int(metrics["epoch"])
        writer, last = self._writers.get(cell.id, (None, 0))
        if writer is None or epoch != last + 1:
            writer = self._begin(cell, epoch)
        _write(writer, epoch, metrics)
        writer.flush()
        self._writers[cell.id] = writer, epoch

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """Close the trial's file."""
        if cell.id in self._writers:
            self._writers.pop(cell.id)[0].close()

    def end(self) -> None:
        """Close every file."""
        for writer, _ in self._writers.values():
            writer.close()

    def _begin(self, cell: Cell, epoch: int) -> EventsWriter:
        """Write the trial's epochs before `epoch` to a new file."""
        if cell.id in self._writers:
            self._writers.pop(cell.id)[0].close()
        folder = self._folder / "trials" / cell.id
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        (folder / "tensorboard").mkdir(parents=True)
        writer = EventsWriter(str(folder / "tensorboard" / "events"))
        # A TensorBoard that is open drops what the earlier file showed.
        writer.write_event(Event(wall_time=time.time(), step=1, session_log=SessionLog(status=SessionLog.START)))
        for metrics in read_epochs(folder):
            if metrics["epoch"] < epoch:
                _write(writer, int(metrics["epoch"]), metrics)
        return writer


def _write(writer: EventsWriter, epoch: int, metrics: Metrics) -> None:
    values = [Summary.Value(tag=key, simple_value=value) for key, value in metrics.items() if key != "epoch"]
    writer.write_event(Event(wall_time=time.time(), step=epoch, summary=Summary(value=values)))
