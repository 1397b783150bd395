"""What --status tells from a study's files alone."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from studies import small_study

import run_study
from dks_study.spec.objectives import ACCURACY
from dks_study.study import provenance
from dks_study.study.cell import Cell
from dks_study.study.ledger import Ledger, Outcome, Record
from dks_study.watch.status import StatusError, find_studies, line, read_status, render

ROOT = Path(__file__).resolve().parents[2]
ARMS = ("baseline", "dense")


def study():
    return short(small_study(trials=1, arms=ARMS, epochs=4))  # 2 x (1 of 1 epoch + 2 x 2 of 4)


def short(study):
    """The study with search trials of one epoch, as the old protocol had them."""
    return study.model_copy(update={"search": study.search.model_copy(update={"epochs": 1})})


def settle(folder, cell, outcome):
    Ledger(folder / "ledger.jsonl").append(Record(cell, outcome, "hash", provenance.now()))


def search(arm):
    return Cell(arm, "search", 0, 99, 1, {"optimiser.lr": 0.06})


@pytest.fixture
def folder(tmp_path):
    """A study whose searches are done and of which one confirmation has begun."""
    folder = tmp_path / "small-1"
    trial = folder / "trials" / "dense-confirm-seed0"
    trial.mkdir(parents=True)
    session = provenance.new_session(0)
    provenance.write_provenance(folder, study(), [], session)
    settle(folder, search("baseline"), Outcome("complete", {ACCURACY: 80.0}, seconds=30.0))
    settle(folder, search("dense"), Outcome("complete", {ACCURACY: 91.25}, seconds=60.0))
    settle(folder, Cell("baseline", "confirm", 0, 0, 4, {}), Outcome("failed", {}, "no memory [1]"))
    (trial / "trial.json").write_text(json.dumps({"phase": "confirm", "seed": 0, "epochs": 4}))
    (trial / "epochs.jsonl").write_text('{"epoch": 1.0}\n{"epoch": 2.0}\n{"epo')
    (trial / "last.pt").write_bytes(bytes(1500))
    hold(folder)
    return folder


def hold(folder, pid=None, host=None, since=0):
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + since))
    (folder / "lock").write_text(f"process {pid or os.getpid()} on {host or socket.gethostname()} since {when}")


def text(folder):
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render(read_status(folder)))
    console.file.close()
    return console.export_text()


def test_it_tells_what_is_done_running_and_lost(folder):
    shown = text(folder)
    assert f"running: process {os.getpid()} on" in shown
    rows = [[cell.strip() for cell in row.split("│")[1:-1]] for row in shown.splitlines() if row.startswith("│")]
    assert rows == [["baseline", "1/1", "80.0", "1/4", ""], ["dense", "1/1", "91.2", "0/4", "confirm-seed0 2/4"]]
    assert "dense/confirm/seed0  2/4     " in shown
    assert "baseline/confirm/seed0: failed: no memory [1]" in shown
    assert "3 of 10 trials, 1 without a result, about 20 min 00 s left" in shown
    assert "checkpoints 1.5 kB" in shown


def test_the_epochs_of_a_long_trial_tell_the_time_left_before_any_has_ended(folder):
    (folder / "ledger.jsonl").unlink()
    log = ["2026-01-01T10:00:00+00:00 start after epoch 0 on 1 x cpu", "2026-01-01T10:00:09+00:00 epoch 1: loss 1"]
    (folder / "trials" / "dense-confirm-seed0" / "log.txt").write_text("\n".join(log) + "\n")
    assert read_status(folder).seconds_left is None
    log += ["2026-01-01T10:01:09+00:00 epoch 2: loss 1", "2026-01-01T10:01:10+00:00 epo"]
    (folder / "trials" / "dense-confirm-seed0" / "log.txt").write_text("\n".join(log))
    assert read_status(folder).seconds_left is None, "nothing is known of the baseline"
    only = folder.with_name("small-2")
    shutil.copytree(folder, only)
    alone = short(small_study(trials=1, arms=("dense",), epochs=4))
    provenance.write_provenance(only, alone, [], provenance.new_session(0))
    assert read_status(only).seconds_left == pytest.approx((1 + 2 + 3 * 4) * 60.0)
    log += ["", "2026-01-01T10:05:00+00:00 start after epoch 2 on 1 x cpu"]
    (only / "trials" / "dense-confirm-seed0" / "log.txt").write_text("\n".join(log))
    assert read_status(only).seconds_left is None, "it goes on, perhaps elsewhere"


@pytest.mark.parametrize("name", ["lock", "holder.json"])
def test_a_study_says_that_it_is_starting_before_ray_is_up(folder, name, capsys):
    new = folder.with_name("small-0")
    new.mkdir()
    if name == "lock":
        hold(new)
    else:
        (new / name).write_text(json.dumps({"process": 7, "host": "far-away", "beat": time.time()}))
    who = f"process {os.getpid()} on" if name == "lock" else "process 7 on far-away"
    assert run_study.main(["--status", str(new)]) == 0
    assert f"starting: {who}" in capsys.readouterr().out
    assert run_study.main(["--status", str(folder.parent)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"small-0: starting: {who}")
    assert first.endswith("; no trial has begun")
    assert second.startswith("small-1: 3 of 10 trials")


def test_a_folder_with_another_lock_is_no_study(folder):
    for name, content in (("a", b"12345"), ("b", b"\xff\xfe"), ("c", b"")):
        folder.with_name(name).mkdir()
        (folder.with_name(name) / "lock").write_bytes(content)
    (folder.with_name("d") / "lock").mkdir(parents=True)
    assert find_studies(folder.parent) == [folder]


def test_a_study_whose_process_ended_before_ray_was_up_is_not_starting(folder):
    new = folder.with_name("small-0")
    new.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    hold(new, pid=ended.pid)
    assert f"ended before its first trial (process {ended.pid} on" in line(read_status(new))
    hold(new, host="elsewhere")
    assert "which cannot be seen from here" in line(read_status(new))


def test_a_process_that_ended_is_told_and_gets_no_estimate(folder):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    hold(folder, pid=ended.pid)
    shown = text(folder)
    assert f"not running (process {ended.pid} on" in shown
    assert "has ended)" in shown
    assert "left" not in shown
    assert "began and did not end" in shown


def test_the_number_of_a_process_may_be_another_ones_by_now(folder):
    hold(folder, since=-7 * 86400)  # this process is younger than that
    assert read_status(folder).alive is False


def test_a_process_of_another_machine_cannot_be_seen(folder):
    hold(folder, host="elsewhere")
    status = read_status(folder)
    assert status.alive is None
    assert "on elsewhere since" in line(status)
    assert "which cannot be seen from this machine" in line(status)


def test_a_complete_study_is_told_as_such(folder):
    for arm in ARMS:
        for index in (0, 1):
            if (arm, index) != ("baseline", 0):
                settle(folder, Cell(arm, "confirm", index, index, 4, {}), Outcome("complete", {ACCURACY: 90.0}))
            written = Cell(arm, "confirm", index, index, 4, {}, choice="written")
            settle(folder, written, Outcome("complete", {ACCURACY: 90.0}))
    status = read_status(folder)
    assert status.complete
    assert line(status).startswith("small-1: 10 of 10 trials, 1 without a result; complete, wrote last")
    assert not status.running


@pytest.mark.parametrize(
    ("silent_s", "told"), [(10, "running: process 7 on far-away"), (999, "not running (process 7")]
)
def test_a_home_tells_of_a_study_on_another_machine(folder, silent_s, told):
    (folder / "lock").unlink()
    holder = {"process": 7, "host": "far-away", "beat": time.time() - silent_s}
    (folder / "holder.json").write_text(json.dumps(holder))
    assert told in text(folder)


def test_a_study_that_has_only_just_begun(folder):
    for path in ("ledger.jsonl", "lock", "trials/dense-confirm-seed0/trial.json"):
        (folder / path).unlink()
    assert line(read_status(folder)).startswith("small-1: 0 of 10 trials; not running, wrote last")


def test_a_folder_of_studies_gets_a_line_for_each(folder, capsys):
    other = folder.parent / "small-2"
    other.mkdir()
    (other / "provenance.json").write_bytes((folder / "provenance.json").read_bytes())
    assert find_studies(folder.parent) == [folder, other]
    assert run_study.main(["--status", str(folder.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [row.partition(":")[0] for row in lines] == ["small-1", "small-2"]
    other.joinpath("provenance.json").unlink()
    assert run_study.main(["--status", str(folder.parent)]) == 0
    assert "dense/confirm/seed0" in capsys.readouterr().out


def test_what_is_no_study_is_refused_in_one_line(folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (folder / "provenance.json").write_text('{"study": {"arms": 3}, "sessions": []}')
    wrong = {"empty": "holds no study", "nowhere": "is not a folder", "small-1": "is not that of a study"}
    for name, message in wrong.items():
        assert run_study.main(["--status", str(tmp_path / name)]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert len(err.splitlines()) == 1
    with pytest.raises(StatusError):
        read_status(folder)


def test_it_imports_neither_torch_nor_ray_nor_pandas_and_changes_nothing(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code = (
        "import sys, run_study; status = run_study.main(['--status', sys.argv[1]]);"
        "sys.exit(status or any(name in sys.modules for name in ('torch', 'ray', 'optuna', 'pandas')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("holder.json", b"{bad"),
        ("holder.json", b"[]"),
        ("lock", b"process \xff"),
        ("lock", f"process 1 on {socket.gethostname()} since 2026-99-99 00:00:00".encode()),
        ("lock", None),
        ("trials/dense-confirm-seed0/trial.json", b"{bad"),
        ("trials/dense-confirm-seed0/trial.json", b"[]"),
        ("provenance.json", b"{bad"),
        ("provenance.json", b"null"),
        ("provenance.json", b'{"study": {"arms": 3}, "sessions": []}'),
    ],
)
def test_a_damaged_study_is_one_line_that_names_the_file_and_hides_no_other(folder, name, content, capsys):
    shutil.copytree(folder, folder.with_name("small-2"))
    if name in ("holder.json", "lock"):
        (folder / "lock").unlink()
    if content is None:
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(content)
    assert run_study.main(["--status", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert Path(name).name in err
    assert "validation error" not in err
    assert "subscriptable" not in err
    assert run_study.main(["--status", str(folder.parent)]) == 2
    out, err = capsys.readouterr()
    assert [row.partition(":")[0] for row in out.splitlines()] == ["small-2"]
    assert len(err.splitlines()) == 1
    assert err.startswith("run_study: --status: ")


def test_of_a_study_of_which_the_results_alone_are_kept_these_are_counted(capsys, tmp_path):
    kept = ROOT / "analysis" / "results" / "dense_vs_oneway"
    assert run_study.main(["--status", str(kept)]) == 0
    count = pd.read_parquet(kept / "trials.parquet")["trial"].nunique()
    assert capsys.readouterr().out == f"{kept}\nkept: the results of {count} trials\n"
    assert run_study.main(["--status", str(kept.parent)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert f"dense_vs_oneway: kept: the results of {count} trials" in listed
    assert not [row for row in listed if ": kept: the results of" not in row]
    copy = shutil.copytree(kept, tmp_path / "copy")
    (copy / "trials.parquet").write_bytes(b"PAR1")
    assert run_study.main(["--status", str(copy)]) == 2
    assert capsys.readouterr().err == f"run_study: {copy}/trials.parquet: is damaged: put a copy back\n"
