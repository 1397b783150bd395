"""Every script of examples/ runs as it says, is short, and ends with a network that works."""

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# script -> (what it needs, test errors in percent that its lines must stay below; chance is 90)
SCRIPTS = {
    "plain_loop.py": ("torch", (60, 25)),
    "lightning_loop.py": ("lightning", (25,)),
    "ddp_two_processes.py": ("torch", (25,)),
}


def test_all_scripts_are_here_and_short():
    there = {path.name: path.read_text().splitlines() for path in (ROOT / "examples").glob("*.py")}
    assert set(there) == set(SCRIPTS)
    assert all(len(lines) < 60 for lines in there.values())


def check_errors(name, printed):
    limits = SCRIPTS[name][1]
    errors = [float(error) for error in re.findall(r"test error ([\d.]+) %", printed)]
    assert len(errors) == len(limits)
    assert all(error < limit for error, limit in zip(errors, limits, strict=True)), printed


def test_the_plain_loop_runs_and_its_network_works(capsys):
    """In this process, which has imported what the script takes seconds to import."""
    runpy.run_path(str(ROOT / "examples" / "plain_loop.py"), run_name="__main__")
    check_errors("plain_loop.py", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs_and_its_network_works(name, tmp_path):
    package, _ = SCRIPTS[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, str(ROOT / "examples" / name)]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    check_errors(name, done.stdout)
    assert not list(tmp_path.iterdir())
