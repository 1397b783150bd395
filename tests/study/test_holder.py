"""Who holds a study: one process on one machine, whatever clocks and time zones say."""

import os
import socket
import subprocess
import sys
import time

import pytest

from dks_study.study.holder import LOCK, holder_of, identity, is_alive, lock_text


@pytest.fixture
def zone(monkeypatch):
    """Move this process to another time zone."""

    def move(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("other", ["UTC", "Asia/Tokyo", "Pacific/Kiritimati"])
def test_a_study_that_runs_is_running_for_readers_in_every_time_zone(tmp_path, zone, other):
    zone("America/New_York")
    (tmp_path / LOCK).write_text(lock_text())
    zone(other)
    name, alive = holder_of(tmp_path)
    assert alive
    assert name.startswith(f"process {os.getpid()} on {socket.gethostname()} since ")
    assert name.endswith(" UTC")


def test_a_process_is_told_from_another_one_with_its_number(tmp_path):
    other = lock_text().replace(identity(os.getpid()), f"{identity(os.getpid())}0")
    (tmp_path / LOCK).write_text(other)
    assert holder_of(tmp_path)[1] is False
    boot, _, ticks = identity(os.getpid()).partition("/")
    (tmp_path / LOCK).write_text(lock_text().replace(boot, "another-boot"))
    assert holder_of(tmp_path)[1] is False, "the machine was started anew"
    assert int(ticks) > 0


def test_a_process_that_has_ended_has_no_identity():
    process = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"], stdin=-1, stdout=-1)
    process.stdout.readline()
    assert identity(process.pid) == identity(process.pid) is not None
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert identity(process.pid) is None, "dead, though nobody has collected it"
    process.communicate()
    assert identity(process.pid) is None


@pytest.mark.parametrize(("ago_s", "alive"), [(0, True), (7 * 86400, False)])
def test_a_lock_of_an_earlier_version_is_read_as_it_was_meant(tmp_path, ago_s, alive):
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - ago_s))
    (tmp_path / LOCK).write_text(f"process {os.getpid()} on {socket.gethostname()} since {since}")
    assert holder_of(tmp_path) == (f"process {os.getpid()} on {socket.gethostname()} since {since}", alive)


def test_a_home_is_not_held_by_another_process_with_the_number_of_its_holder():
    holder = {"process": os.getppid(), "host": socket.gethostname(), "beat": 0.0}
    assert is_alive(holder), "as earlier versions have it"
    assert is_alive({**holder, "identity": identity(os.getppid())})
    assert not is_alive({**holder, "identity": f"{identity(os.getppid())}0"})
