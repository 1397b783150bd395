"""A study that is told to end: once, twice, and by a batch system."""

import os
import re
import signal
import time

import psutil
import pytest
from faulty import STEPS_PER_EPOCH, group_of, trapped_process, trapped_study
from whole_studies import PATIENCE_S, finish, records, same_tables, start, study_folder, wait_until

SECOND_EPOCH = STEPS_PER_EPOCH + 1
AT_ONCE_S = 10


def family(process):
    """Return all processes of a study, but not the one that was started."""
    return psutil.Process(process.pid).children(recursive=True)


def runs(process):
    """Is it there and not a zombie, which only waits for whoever should have collected it?"""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def told(log):
    return lambda: "Ending after the epochs that are running." in log.read_text()


@pytest.mark.slow
def test_sigterm_lets_running_epochs_end_and_none_is_trained_twice(tmp_path, calm):
    space, trapped = trapped_study(tmp_path, "wait", at=SECOND_EPOCH)
    log = tmp_path / "log"
    process = start(space, tmp_path / "results", log=log)
    trapped_process(trapped, process)
    os.kill(process.pid, signal.SIGTERM)
    wait_until(told(log), process)
    (trapped / "go").touch()
    assert process.wait(timeout=PATIENCE_S) == 130
    assert "Traceback" not in log.read_text()
    assert log.read_text().splitlines()[-1].startswith("Interrupted: nothing that finished is lost.")
    folder = study_folder(tmp_path / "results")
    (held,) = [path.parent for path in folder.glob("trials/trapped-*/last.pt")]
    assert not (held / "outcome.json").exists()
    finish(space, tmp_path / "results")
    assert same_tables(folder, calm(0))
    epochs = re.findall(r"epoch (\d+):", (held / "log.txt").read_text())
    assert epochs == ["1", "2", "3", "4"], "each once"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_twice_ends_at_once_and_nothing_is_left_behind(tmp_path, calm, workers):
    space, trapped = trapped_study(tmp_path, "wait", at=SECOND_EPOCH)
    log = tmp_path / "log"
    process = start(space, tmp_path / "results", *group_of(workers), log=log)
    trapped_process(trapped, process)
    rest = family(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    wait_until(told(log), process)
    before = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=PATIENCE_S) == 130
    assert time.monotonic() - before < AT_ONCE_S
    assert "Traceback" not in log.read_text()
    assert "Stopped: nothing that finished is lost." in log.read_text()
    wait_until(lambda: not any(map(runs, rest)))
    finish(space, tmp_path / "results", *group_of(workers))
    folder = study_folder(tmp_path / "results")
    assert same_tables(folder, calm(workers))
    assert len({record.cell.id for record in records(folder)}) == len(records(folder))
