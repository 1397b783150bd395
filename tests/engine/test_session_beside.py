"""Real studies that meet on one machine, are just being started, or are refused once Ray is there."""

import os
import subprocess
import sys

import pytest
from whole_studies import ROOT, finish, records, start, study_folder, wait_until

pytestmark = pytest.mark.slow


def status(folder):
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_study.py"), "--status", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_study_says_that_it_is_starting_and_a_second_one_names_it(space, tmp_path):
    first = start(space, tmp_path / "first", log=tmp_path / "log.txt")
    folder = wait_until(lambda: study_folder(tmp_path / "first"), first)
    wait_until(lambda: (folder / "lock").is_file() and (folder / "lock").read_text(), first)
    if not (folder / "provenance.json").exists():
        assert "starting: process" in status(folder)
    wait_until(lambda: any(folder.glob("trials/*/epochs.jsonl")), first)
    _, out, _ = finish(space, tmp_path / "second", "search.trials=0", "report_seeds=[0]")
    assert f"Note: {folder.resolve()} runs on this machine too (process " in out
    assert first.wait() == 0, (tmp_path / "log.txt").read_text()
    assert "data-live" not in (folder / "report.html").read_text(), "the report has taken its place"
    assert str(tmp_path / "second") not in (tmp_path / "log.txt").read_text(), "who came first is told of nobody"
    assert all(record.outcome.seconds > 0 for record in records(folder)), "each trial was seen whole"


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a GPU")
def test_a_study_that_asks_for_a_gpu_where_there_is_none_leaves_nothing(space, tmp_path):
    _, _, err = finish(space, tmp_path / "results", "trial.resources.gpus_per_worker=1", code=2)
    assert "trial.resources.gpus_per_worker: a trial needs 1 GPU, but there are 0" in err
    assert not (tmp_path / "results").exists()
