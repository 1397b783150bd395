"""A wheel holds all that a checkout gives: built from the tracked files, installed without them, used elsewhere.

Dependencies come from this environment through a .pth file, which does not bring its dks_study along (CI installs the
wheel once with dependencies of its own, too).
"""

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import dks_study

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run([sys.executable, *words], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The bin folder of an environment with the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    subprocess.run([folder / "bin/pip", "install", "--quiet", "--no-deps", wheel], check=True)
    return folder / "bin"


def call(installed, program, *words, cwd):
    """Run a program of that environment in a folder where no checkout is."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment = clean | {"RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.run([installed / program, *words], capture_output=True, text=True, cwd=cwd, env=environment)


def test_the_version_has_one_source(wheel):
    assert wheel.name.startswith(f"dks_study-{dks_study.__version__}-py3")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {dks_study.__version__}" in changes
    assert f"\nversion: {dks_study.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def of_the_plan(printed):
    """Leave out what a checkout knows from its kept studies, which a wheel does not hold."""
    return [line for line in printed.splitlines() if not line.startswith("smallest difference")]


def test_the_command_lists_and_plans_what_a_checkout_does(installed, tmp_path):
    where = call(installed, "python", "-c", "import dks_study; print(dks_study.__file__)", cwd=tmp_path)
    assert str(ROOT) not in where.stdout
    for words in (
        ["--list"],
        ["--space", "dense_vs_oneway", "--dry-run"],
        ["--space", "against_the_family", "--dry-run"],
    ):
        here = subprocess.run([sys.executable, ROOT / "run_study.py", *words], capture_output=True, text=True)
        there = call(installed, "dks-study", *words, cwd=tmp_path)
        assert there.returncode == 0, there.stderr
        assert of_the_plan(there.stdout) == of_the_plan(here.stdout)


@pytest.mark.parametrize("command", ["export", "report", "overview", "bundle"])
def test_every_further_command_says_how_it_is_used(installed, tmp_path, command):
    done = call(installed, "dks-study", command, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"usage: dks-study {command}" in done.stdout + done.stderr


def test_a_study_with_the_shipped_teacher_runs_in_an_empty_folder(installed, tmp_path):
    small = ["trial.epochs=1", "report_seeds=[0, 1]", "search.trials=0"]
    words = ["--space", "against_the_family", *(word for value in small for word in ("--set", value))]
    done = call(installed, "dks-study", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (study,) = (tmp_path / "results").iterdir()
    assert {path.name for path in study.iterdir()} >= {"table.md", "report.html", "latex", "trials.parquet"}
    assert (study / "table.md").read_text(encoding="utf-8") in done.stdout
