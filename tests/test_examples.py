"""Every script of examples/ runs as it says, is short, and ends with a network that works."""

import importlib.util
import os
import re
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
QUICK = ("plain_loop.py",)


def test_all_scripts_are_here_and_short():
    there = {path.name: path.read_text().splitlines() for path in (ROOT / "examples").glob("*.py")}
    assert set(there) == set(SCRIPTS)
    assert all(len(lines) < 60 for lines in there.values())


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SCRIPTS])
def test_it_runs_and_its_network_works(name, tmp_path):
    package, limits = SCRIPTS[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, str(ROOT / "examples" / name)]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    errors = [float(error) for error in re.findall(r"test error ([\d.]+) %", done.stdout)]
    assert len(errors) == len(limits)
    assert all(error < limit for error, limit in zip(errors, limits, strict=True)), done.stdout
    assert not list(tmp_path.iterdir())
