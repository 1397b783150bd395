"""A study on an odd machine, in an odd environment, in front of nobody, and without its Ray."""

import os
import pty
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest
from faulty import trapped_process, trapped_study
from nodes import nodes
from whole_studies import PATIENCE_S, ROOT, command, finish, records, same_tables, start, study_folder, wait_until

ODD = {
    "RAY_ADDRESS": "127.0.0.1:1",  # a head that has ended
    "OMP_NUM_THREADS": "all of them",
    "CUDA_VISIBLE_DEVICES": "7,,x",
    "TZ": "America/New_York",
    "FORCE_COLOR": "1",
    "TERM": "dumb",
}


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


def without_rights(home):
    """Return words before a command that may not write into `home`, whoever runs it."""
    home.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("rights cannot be dropped here: no setpriv")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def little_shared_memory():
    """Return words before a command that has 64 MiB of /dev/shm, as in a container; none where that cannot be had."""
    mount = 'mount -t tmpfs -o size=64m none /dev/shm && exec "$@"'
    tried = subprocess.run(["unshare", "-m", "sh", "-c", mount, "sh", "true"], capture_output=True, check=False)
    return [] if tried.returncode else ["unshare", "-m", "sh", "-c", mount, "sh"]


@pytest.mark.slow
def test_an_odd_machine_and_environment_change_nothing(tmp_path, calm):
    space, trapped = trapped_study(tmp_path, "wait", at=19)
    results, home, log = tmp_path / "r #1 ?ü", tmp_path / "home", tmp_path / "log"
    home.mkdir()
    taken = socket.socket()
    with suppress(OSError):  # somebody else has it
        taken.bind(("127.0.0.1", 8265))
    words = [*little_shared_memory(), *without_rights(home), *command(space, results)]
    environment = {**os.environ, **ODD, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        environment.pop(name, None)
    with taken, log.open("w") as out:
        process = subprocess.Popen(words, env=environment, stdout=out, stderr=out, preexec_fn=few_files)
        try:
            trapped_process(trapped, process)
            assert f"running: process {worker_of(process)} on" in status_in(results, "UTC")
            assert f"running: process {worker_of(process)} on" in status_in(results, "Asia/Tokyo")
            (trapped / "go").touch()
            assert process.wait(timeout=PATIENCE_S) == 0, log.read_text()
        finally:
            process.kill()
    text = log.read_text()
    assert same_tables(study_folder(results), calm(0))
    assert "\x1b" not in text, "plain lines, whatever FORCE_COLOR says"
    assert "free-confirm-seed0 begins" in text
    assert re.search(r"asked for a token\? it is in /\S+/token\)", text), "not in HOME"
    assert list(home.iterdir()) == []


def worker_of(process):
    """Return the number of the process that works, of the two that a command is."""
    return psutil.Process(process.pid).children()[0].pid


def status_in(results, zone):
    words = [sys.executable, str(ROOT / "run_study.py"), "--status", str(results)]
    done = subprocess.run(words, env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("output", "lines"), [("| head -2", 2), ("> /dev/full", 0)])
def test_a_reader_that_goes_away_or_has_no_room_ends_nothing(space, uninterrupted, tmp_path, output, lines):
    words = [*command(space, tmp_path / "results"), "2>", str(tmp_path / "err"), output]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    environment.pop("HOME", None)
    line = " ".join(words)
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], env=environment, capture_output=True, text=True)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, lines)
    assert (tmp_path / "err").read_text() == ""
    folder = study_folder(tmp_path / "results")
    assert same_tables(folder, uninterrupted[0])
    for name in ("report.html", "trials.parquet", "epochs.parquet"):
        assert (folder / name).stat().st_size > 0


@pytest.mark.slow
def test_a_terminal_that_goes_away_ends_nothing_where_hangups_are_ignored(space, uninterrupted, tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(space, tmp_path / "results"),
        env={**os.environ, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while b"Ray dashboard" not in seen:
        seen += os.read(ours, 65536)
    os.close(ours)
    assert b"\x1b[?25l" in seen, "it was drawn on"
    assert process.wait(timeout=PATIENCE_S) == 0
    assert same_tables(study_folder(tmp_path / "results"), uninterrupted[0])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_ray_starts_ends_it_with_one_line_and_nothing_is_left(space, tmp_path, number):
    log = tmp_path / "log"
    process = start(space, tmp_path / "results", log=log)
    begun = lambda: [p for p in psutil.Process(process.pid).children(recursive=True) if "gcs_server" in p.name()]  # noqa: E731
    wait_until(begun, process)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number)
    assert process.wait(timeout=PATIENCE_S) == 130
    assert psutil.wait_procs(family, timeout=20)[1] == []
    *_, stopped = log.read_text().splitlines()
    assert stopped == "Stopped: nothing that finished is lost. Run the same command again to go on."


@pytest.mark.slow
def test_a_hangup_ends_it_as_if_killed_and_nothing_is_left(tmp_path, calm, hangups):
    space, trapped = trapped_study(tmp_path, "wait", at=19)
    process = start(space, tmp_path / "results", log=tmp_path / "log")
    trapped_process(trapped, process)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGHUP)
    assert process.wait(timeout=PATIENCE_S) == -signal.SIGHUP
    assert psutil.wait_procs(family, timeout=1)[1] == [], "Ray's agents by themselves live on for minutes"
    (trapped / "go").touch()
    finish(space, tmp_path / "results")
    assert same_tables(study_folder(tmp_path / "results"), calm(0))


LOST = "Ray was lost or failed: nothing that finished is lost. Run the same command again to go on."


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["raylet", "head"])
def test_a_lost_ray_ends_it_with_a_status_of_its_own_and_it_goes_on(tmp_path, calm, monkeypatch, lost):
    space, trapped = trapped_study(tmp_path, "wait", at=19)
    log = tmp_path / "log"
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # 60
    if lost == "head":
        with nodes(2) as cluster:
            process = start(space, tmp_path / "results", options=("--address", cluster.address), log=log)
            trapped_process(trapped, process)
    else:
        process = start(space, tmp_path / "results", log=log)
        trapped_process(trapped, process)
        family = psutil.Process(process.pid).children(recursive=True)
        next(each for each in family if each.name() == "raylet").kill()
    assert process.wait(timeout=PATIENCE_S) == 3, log.read_text()
    assert log.read_text().splitlines()[-1] == LOST
    assert all(record.outcome.status == "complete" for record in records(study_folder(tmp_path / "results")))
    (trapped / "go").touch()
    finish(space, tmp_path / "results")
    assert same_tables(study_folder(tmp_path / "results"), calm(0))
