"""Ray's end: no thread of ours frees a reference while it shuts down, or Ray ends the process with status 1."""

import os
import subprocess
import sys

import psutil
import pytest
from nodes import nodes
from whole_studies import PATIENCE_S, ROOT

SHUTDOWNS, AT_ONCE = 100, 2


def begin(address, times, display_ends):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests/helpers"), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, str(ROOT / "tests/helpers/shutdowns.py"), address, str(times), display_ends]
    return subprocess.Popen(
        words, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def address():
    with nodes(1) as cluster:
        yield cluster.address


@pytest.fixture
def load():
    """Every core has something else to do."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(psutil.cpu_count())]
    yield
    for process in busy:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_display_that_outlives_ray_ends_the_process(address):
    # What the next test would see if a session's contexts came in another order.
    process = begin(address, 10, "after")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert len(out.splitlines()) < 10
    assert "Traceback" not in err, "Python is told nothing of it; nor is Ray's own message always there"


@pytest.mark.slow
def test_a_hundred_shutdowns_under_load_are_survived(address, load):
    processes = [begin(address, SHUTDOWNS // AT_ONCE, "before") for _ in range(AT_ONCE)]
    told = [process.communicate(timeout=PATIENCE_S) for process in processes]
    assert [process.returncode for process in processes] == [0] * AT_ONCE, told
    assert sum(len(out.splitlines()) for out, _ in told) == SHUTDOWNS
