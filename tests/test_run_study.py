"""The command line: fast where nothing starts, one line where something is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SPACE = ("--space", "dense_vs_oneway.yaml")


def run(*words, cwd=ROOT):
    return subprocess.run(
        [sys.executable, str(ROOT / "run_study.py"), *words], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.mark.parametrize("words", [["--help"], ["--list"], [*SPACE, "--dry-run"]])
def test_what_starts_nothing_imports_nothing_heavy(words):
    code = (
        "import sys, run_study\n"
        "try:\n    status = run_study.main(sys.argv[1:])\nexcept SystemExit as done:\n    status = done.code\n"
        "heavy = {'torch', 'ray', 'optuna', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "assert (status, heavy) == (0, set()), (status, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path):
    done = run(*SPACE, "--dry-run", "--set", "search.trials=3", "--set", "trial.epochs=10", "--results", str(tmp_path))
    assert "15 search trials of 5 epochs and 30 confirmation trials of 10: 375 epochs" in done.stdout
    assert "a trial takes 1 of the" in done.stdout
    for word in ("baseline", "bottom_up", "optimiser.lr", "loss.synergy_weight", "Does dense"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_list_names_every_shipped_file_with_its_question():
    done = run("--list")
    for path in (ROOT / "search_spaces").rglob("*.yaml"):
        assert path.stem in done.stdout
    assert "Does dense (two-way) knowledge synergy beat" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--space must name a question: see --list"),
        (["--space", "nothing"], "--space nothing: no such space"),
        ([*SPACE, "--profile", "labtop"], "did you mean laptop?"),
        ([*SPACE, "--set", "trial.epochs=-1"], "trial.epochs: must be greater than or equal to 1, got -1"),
        ([*SPACE, "--set", "trial.data.name=cifar10", "--set", "trial.data.root=nowhere", "--results", "@"],
         "data.root: give the folder that holds the files, or set data.download: true; cifar10 is not in 'nowhere'"),
        ([*SPACE, "--set", "trial.optimiser.batch_size=5000", "--set", "trial.optimiser.keep_partial_batch=false",
          "--results", "@"], "optimiser.batch_size: must be at most the 1078 training images, got 5000"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line_and_status_2(tmp_path, words, message):
    done = run(*(word.replace("@", str(tmp_path)) for word in words))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_results_folder_that_cannot_be_made_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    done = run(*SPACE, "--results", str(tmp_path / "file"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--results" in done.stderr
