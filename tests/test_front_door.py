"""`import dks_study` is light, says what it has, and what it gives is typed."""

import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest

import dks_study
from dks_study import Problem, load, read, run
from dks_study.spec.files import load_study
from dks_study.studies import StudyResults

ROOT = Path(__file__).resolve().parent.parent


def test_importing_it_imports_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import dks_study\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    new = set(done.stdout.split())
    assert "dks_study" in new
    assert new <= {"dks_study", *sys.stdlib_module_names}


def test_every_public_name_is_there_and_a_wrong_one_is_named():
    assert set(dks_study.__all__) <= set(dir(dks_study))
    for name in dks_study.__all__:
        assert getattr(dks_study, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'runs'; it has Problem"):
        _ = dks_study.runs


def test_load_takes_what_the_command_takes():
    words = ["trial.epochs=3", "search.axes={}", "search.trials=0", "trial.optimiser.lr=0.00001"]
    settings = {"trial.epochs": 3, "search.axes": {}, "search.trials": 0, "trial.optimiser.lr": 1e-5}
    assert load("dense_vs_oneway", set=settings) == load_study("dense_vs_oneway", None, words)
    assert load(ROOT / "search_spaces/does_it_help.yaml", profile="desktop").profile == "desktop"


@pytest.mark.parametrize("text", ["😀 ü\u2028\x7f\x85", "a\n\t\"'\\b", "\U000e0001", "true", "1e3", "", " x: [", "#"])
def test_a_text_is_taken_as_it_is(text):
    assert load("does_it_help", set={"table.title": text}).table.title == text
    study = load("does_it_help", set={"arms": {"baseline": {}, "ds": {}}, "table": {"title": text, "reference": "ds"}})
    assert study.table.title == text


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: load("dense_vs_onway"), "no such space, did you mean dense_vs_oneway?"),
        (lambda: load("does_it_help", set={"trial.epochs": 0}), "--set: trial.epochs: "),
        (lambda: load("does_it_help", set={"trial.epochs": {1}}), "set: trial.epochs: must be what YAML can hold"),
        (lambda: load("does_it_help", set=5), "set: must be values by dotted key, such as {'trial.epochs': 10}, got 5"),
        (lambda: load("does_it_help", set="a=1"), "set: must be values by dotted key, such as"),
        (lambda: load("does_it_help", set={"trial.epochs=1": 2}), "set: must have dotted keys, got 'trial.epochs=1'"),
        (lambda: load("does_it_help", set={1: 2}), "set: must have dotted keys, got 1"),
        (lambda: load("does_it_help", set={"question": "\ud800"}), "question: not a plain value: U+D800 is no"),
        (lambda: read("nowhere"), "nowhere: not the results of a study: provenance.json is missing"),
    ],
)
def test_bad_input_is_one_line(call, line):
    with pytest.raises(Problem) as caught:
        call()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


NO_FOLDER = (None, 5, b"", "", " ")


WRONG = [
    ("disk_gib", "a number of GiB above 0", (math.nan, math.inf, -1, 0, True, "1")),
    ("results", "a folder", NO_FOLDER),
    ("storage", "a folder or a URL", ("", 5)),
    ("reuse", "a folder or a URL", ("", 5)),
    ("optuna_storage", "a URL", ("", 5)),
    ("mlflow", "a URI", ("", 5)),
    ("wandb", "a project", ("", 5)),
    ("address", "auto or HOST:PORT", ("", 5)),
    ("retry", "a list such as ['failed']", ("failed", 5, None, [5])),
    ("study", "what load returned", (5, None, "does_it_help")),
]


@pytest.mark.parametrize(
    ("name", "rule", "value"), [(name, rule, each) for name, rule, wrong in WRONG for each in wrong]
)
def test_what_run_cannot_use_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, name, rule, value):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problem) as caught:
        run(**{"study": load("does_it_help"), name: value})
    assert str(caught.value) == f"{name}: must be {rule}, got {value!r}"
    assert not list(tmp_path.iterdir())


def test_a_bucket_or_a_home_is_no_folder_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for results in ("s3://b/c", Path("s3://b/c"), "~/x"):
        with pytest.raises(Problem, match=r"^--results: must be .*got '(s3:/|~/)"):
            run(load("does_it_help"), results)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", NO_FOLDER)
def test_what_is_no_folder_is_not_read(value):
    with pytest.raises(Problem, match=f"^folder: must be a folder, got {value!r}$"):
        read(value)


@pytest.fixture(scope="module")
def kept():
    return read(ROOT / "analysis/results/loss_weights")


def test_results_are_frames_and_a_table(kept):
    table = kept.table()
    assert list(table["arm"]) == list(dict.fromkeys(table["arm"]))
    assert set(table["arm"]) <= set(kept.trials["row"])
    assert {"trial", "epoch", "val/top1/main"} <= set(kept.epochs)
    assert str(kept).startswith(f"### {kept.study.table.title}")
    assert repr(kept).startswith("<results of loss_weights: ")


def test_a_notebook_shows_the_table(kept):
    html = kept._repr_html_()
    assert html.count("<table") == 2, "the answer, and what was chosen"
    for arm in kept.table()["arm"]:
        assert f">{arm}<" in html


def test_the_choice_of_an_arm_is_what_its_trials_were_trained_with(kept):
    for arm, repeat in itertools.product(kept.study.arms, range(kept.study.search.repeats)):
        choice = kept.choice(arm, repeat)
        assert choice.keys() == kept.study.axes_of(arm).keys()
        confirmed = kept.trials.query("phase == 'confirm' and row == @arm and repeat == @repeat")
        assert len(confirmed) == 2
        for key, value in choice.items():
            assert (confirmed[f"setting/{key}"] == value).all()
    with pytest.raises(Problem, match=r"arm: must be a row of the table .*, got 'dens'"):
        kept.choice("dens")


def test_a_network_that_was_not_kept_is_named(kept):
    arm = next(iter(kept.study.arms))
    with pytest.raises(Problem, match=f"no checkpoint of {arm} is there"):
        kept.network(arm)


@pytest.mark.slow
def test_what_a_user_writes_is_typed(tmp_path):
    script = tmp_path / "own.py"
    script.write_text(
        "from dks_study import StudyResults, load, read, run\n"
        "results: StudyResults = run(load('does_it_help', set={'trial.epochs': 2}))\n"
        "error: float = results.table()['test_error_percent'].min()\n"
        "results.choice(3)\n"
    )
    words = [sys.executable, "-m", "mypy", "--config-file", "", "--strict", "--ignore-missing-imports", str(script)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line and "own.py" in line]
    assert len(errors) == 1, done.stdout
    assert 'own.py:4: error: Argument 1 to "choice"' in errors[0]
    assert StudyResults.__module__ == "dks_study.studies"


@pytest.mark.slow
def test_a_study_runs_and_goes_on_from_python(tmp_path):
    """In a process of its own, twice in a row: the second call finds everything done, and Ray is gone in between."""
    code = (
        "import dks_study, numpy, sys\n"
        "study = dks_study.load('does_it_help', set={'search.trials': 0, 'trial.epochs': 1, 'report_seeds': [0, 1]})\n"
        "first, second = (dks_study.run(study, sys.argv[1]) for _ in range(2))\n"
        "assert str(first) == str(second) == (first.folder / 'table.md').read_text()\n"
        "network = first.network('dks')\n"
        "import torch\n"
        "from dks_study.training.data import load\n"
        "data = load(study.trial.data)\n"
        "right = (network(data.test.images).argmax(1) == data.test.labels).double().mean()\n"
        "row = first.trials.set_index('trial').loc[network.trial]\n"
        "assert abs(100 * float(right) - row['test/top1/main']) < 1e-3, (right, row['test/top1/main'])\n"
        "import ray\n"
        "ray.init(address='local', num_cpus=1)\n"
        "try: dks_study.run(study, sys.argv[1])\n"
        "except dks_study.Problem as problem: print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("run: Ray already runs in this process")
