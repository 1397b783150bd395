"""The command line: fast where nothing starts, one line where something is wrong."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from studies import plain_profile

import run_study
from dks_study.spec.files import load_study

ROOT = Path(__file__).resolve().parent.parent
SPACE = ("--space", "dense_vs_oneway.yaml")
OWN_SPACE = """question: Does [/it] work [well]?
profile: laptop
trial:
  epochs: 7
arms:
  baseline: {loss.pairing: none}
  dense: {branches.taps: [stage1, stage2]}
search:
  trials: 3
  axes:
    loss.synergy_weight: {float: [0.5, 2.0], arms: [dense]}
report_seeds: [0, 1]
table: {title: T, reference: baseline}
"""


def started(*_, **__):
    raise AssertionError("Ray was started")


def status_and_stderr(words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        return run_study.main(words), err.getvalue()


def run(*words, cwd=ROOT):
    return subprocess.run(
        [sys.executable, str(ROOT / "run_study.py"), *words], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.fixture
def printed(capsys):
    """Run the command line in this process, which has imported it; return status, output and errors."""

    def run_here(*words):
        return run_study.main(words), *capsys.readouterr()

    return run_here


def run_code(code, *words):
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize("words", [["--help"], ["--list"], [*SPACE, "--dry-run"]])
def test_what_starts_nothing_imports_nothing_heavy(words):
    code = (
        "import sys, run_study\n"
        "try:\n    status = run_study.main(sys.argv[1:])\nexcept SystemExit as done:\n    status = done.code\n"
        "heavy = {'torch', 'ray', 'optuna', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "assert (status, heavy) == (0, set()), (status, heavy)"
    )
    done = run_code(code, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path):
    done = run(*SPACE, "--dry-run", "--set", "search.trials=3", "--results", str(tmp_path))
    plan = "60 search trials, 120 of finalists, at most 80 confirmation trials: about 1940 epochs, 10 at most in each"
    assert plan in done.stdout
    assert "4 independent searches of each arm, in each a race of the best 3 settings on 2 more seeds" in done.stdout
    assert "a trial takes 1 of the" in done.stdout
    for word in ("baseline", "bottom_up", "optimiser.lr", "tuned in every arm: optimiser.lr, epochs", "Does dense"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_dry_run_shows_sampler_cells_and_early_stopping_of_each_arm(printed, tmp_path):
    path = tmp_path / "mine.yaml"
    axis = "    loss.synergy_weight: {float: [0.5, 2.0], arms: [dense]}\n"
    more = "    loss.temperature: {int: [1, 3], arms: [baseline]}\n  early_stopping: {kind: asha, grace_epochs: 2}\n"
    path.write_text(OWN_SPACE.replace(axis, axis + more))
    status, out, err = printed("--space", str(path), "--profile", str(plain_profile(tmp_path)), "--dry-run")
    assert (status, err) == (0, "")
    assert "tuned in every arm: nothing" in out
    shown = [" ".join(line.split()) for line in out.splitlines()]
    assert "search of baseline grid 3 asha from epoch 2, reduction 3" in shown
    assert "search of dense tpe continuous asha from epoch 2, reduction 3" in shown


@pytest.mark.parametrize("question", ["Does it work?", "Does [/it] work [well]?"])
def test_dry_run_counts_what_each_arm_will_run_and_shows_texts_as_written(printed, tmp_path, question):
    path = tmp_path / "mine.yaml"
    path.write_text(OWN_SPACE.replace("Does [/it] work [well]?", question))
    results = tmp_path / ("[a]" if "[" in question else "a") / "results"
    scale = str(plain_profile(tmp_path))
    status, out, err = printed("--space", str(path), "--profile", scale, "--dry-run", "--results", str(results))
    assert (status, err) == (0, "")
    assert "3 search trials, 0 of finalists, at most 6 confirmation trials: about 63 epochs, 7 at most" in out
    rows = {line.split()[0]: line.split()[-3:] for line in out.splitlines() if line[:1].isalpha()}
    assert rows["baseline"] == ["0", "0", "2"], "an arm without an axis is not searched"
    assert rows["dense"] == ["3", "0", "4"], "as written and as tuned"
    assert question in out
    assert f"results: {results}" in out
    assert not results.exists()


def test_dry_run_shows_every_override_whole(printed):
    _, out, _ = printed(*SPACE, "--dry-run", "--set", "arms.dense.loss.pairing=[main>stage1]")
    assert "main>stage1" in out


def test_a_changed_study_has_another_folder_and_the_same_one_the_same():
    code = "import json, run_study, sys\nfor words in json.loads(sys.argv[1]):\n    run_study.main(words)"
    plan = [*SPACE, "--dry-run"]
    done = run_code(code, json.dumps([plan, plan, [*plan, "--set", "trial.optimiser.gamma=0.3"]]))
    folders = [line for line in done.stdout.splitlines() if line.startswith("results: ")]
    assert folders[0].startswith("results: results/dense_vs_oneway-")
    assert folders[0] == folders[1] != folders[2]


def test_list_names_every_shipped_file_with_its_question(printed):
    _, out, _ = printed("--list")
    for path in (ROOT / "search_spaces").rglob("*.yaml"):
        assert path.stem in out
    assert "Does dense (two-way) knowledge synergy beat" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--space must name a question: see --list"),
        ([*SPACE, "--set", "trial.epochs=-1"], "--set: trial.epochs: must be at least 1, got -1"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(words, message):
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("run_study: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["dense_vs_oneway"],
            "'dense_vs_oneway' is no command (export, report, overview, bundle, grow, merge, checklist, diff, verify,"
            " watch, doctor, clean, schema); to run a question: --space NAME",
        ),
        (["export"], "the following arguments are required: trial, --to"),
        (["export", "nowhere", "--to", "tflite"], "--to: invalid choice: 'tflite' (choose from"),
        ([*SPACE, "--set"], "--set: expected one argument"),
        ([*SPACE, "--set", "trial.epochs"], "--set takes dotted.key=value, got 'trial.epochs'"),
        ([*SPACE, "--set", "trial..epochs=3"], "--set takes dotted.key=value, got 'trial..epochs=3'"),
        ([*SPACE, "--set", ".=3"], "--set takes dotted.key=value, got '.=3'"),
        ([*SPACE, "--set", "trial.optimiser.lr=0.1,momentum=0.9"], 'lr: must be a number, got "0.1,momentum=0.9"'),
        ([*SPACE, "--set", "trial.optimiser.lr=1/10"], '--set: trial.optimiser.lr: must be a number, got "1/10"'),
        ([*SPACE, "--set", "trial.epochs=１０"], "--set: trial.epochs: must be a whole number, got "),
        ([*SPACE, "--set", "report_seeds=5"], "--set: report_seeds: must be a list, got 5"),
        ([*SPACE, "--set", "trial={}"], "--set: trial.backbone: the key is missing (and 2 more)"),
        ([*SPACE, "--set", "question=\udcff"], "--set: question: not valid YAML: U+DCFF is no character of a text"),
        ([*SPACE, "--disk-gib", "nan"], "--disk-gib: must be a number of GiB above 0, got 'nan'"),
        ([*SPACE, "--dry-run=yes"], "--dry-run: ignored explicit argument 'yes'"),
        (
            [*SPACE, "--profile", str(ROOT / "LICENSE")],
            "LICENSE:10: not valid YAML: mapping values are not allowed here",
        ),
        (
            ["--space", str(ROOT / "analysis" / "figures" / "method.png")],
            "method.png: cannot be read: it must be text in UTF-8",
        ),
        (["--space", "a\0b"], "--space 'a\\x00b': no such space; there are: "),
        ([*SPACE, "--storage", ""], "--storage: must be a folder or a URL, got ''"),
        ([*SPACE, "--plan-for", "1e-300"], "--plan-for: must be at least 0.01 points of error, got 1e-300"),
        ([*SPACE, "--set", "trial.epochs=" + "9" * 5000], "whole numbers have at most 64 bits here"),
        ([*SPACE, "--set", "trial={[a]: 1}"], "a key must be plain text, got a list or a section"),
        (["--status", str(ROOT / "LICENSE")], "LICENSE: is not a folder"),
        (
            [*SPACE, "--dry-run", "--results", "s3://key:secret@bucket/a"],
            "--results: must be a folder of this machine, and no URL (--storage takes one), got 's3://bucket/a'",
        ),
        (
            [*SPACE, "--dry-run", "--results", "~/a"],
            "--results: must be written out, as no shell has read its ~, got '~",
        ),
        (
            [*SPACE, "--dry-run", "--set", "trial.data={name: cifar10, root: ~/data}"],
            "--set: trial.data.root: must be written out, as no shell has read its ~, got '~/data'",
        ),
        (
            [*SPACE, "--dry-run", "--set", "trial.data={name: cifar10, root: gs://a/b}"],
            "--set: trial.data.root: must be a folder of this machine, and no URL, got 'gs://a/b'",
        ),
        ([*SPACE, "--set", "table.against={dense: dense}"], "table.against.dense: must be another arm, got 'dense'"),
        (
            [*SPACE, "--set", "arms.a={loss.pairing: none, loss: {pairing: dense}}"],
            "arms.a.loss: holds loss.pairing, which is written beside it: one of the two goes",
        ),
        (
            [*SPACE, "--set", "trial.resources.gpus_per_worker=1e-9"],
            "gpus_per_worker: must be 0 or at least 0.01, got ",
        ),
        (["--list", "--status", "results"], "--status: not allowed with argument --list"),
        (["--list", "--space", "zzz"], "--space: not allowed with argument --list"),
        (["--status", "results", "--set", "x=1"], "--set: not allowed with argument --status"),
        (["--status", "results", "--no-reuse"], "--no-reuse: not allowed with argument --status"),
        (["--status", "results", "--finish-by", "08:00"], "--finish-by: not allowed with argument --status"),
        (["schema", ""], "FOLDER: must be a folder, got ''"),
        (["watch", " "], "FOLDER|URL: must be a folder or a URL, got ' '"),
        (["doctor", "--results", ""], "--results: must be a folder, got ''"),
        (["merge", "a", "b", "--results", ""], "--results: must be a folder, got ''"),
        ([*SPACE, "--dry-run", "--check-data"], "--check-data: not allowed with argument --dry-run"),
        ([*SPACE, "--hours", "1e308"], "--hours: must be at most 87,600 hours, got '1e308'"),
    ],
)
def test_what_people_mistype_gets_one_line_and_status_2(capsys, words, message):
    assert run_study.main(words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, len(err.splitlines())) == ("", 1)


def test_an_unknown_option_is_status_2_without_a_traceback():
    done = run("--spaces", "x")
    assert done.returncode == 2
    assert "unrecognized arguments" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """Return (status, stderr) by name of the case, and the folder of the results; Ray never starts."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "file").write_text("")
    missing = [*SPACE, "--set", "trial.data.name=cifar10", "--set", "trial.data.root=nowhere", "--results"]
    batch = ["--set", "trial.optimiser.batch_size=5000", "--set", "trial.optimiser.keep_partial_batch=false"]
    taught = ["--set", "arms.dense.loss.pairing=[teacher>main]"]
    teacher = "{weights: nowhere.pt, backbone: {name: resnet, depth: 8}}"
    cases = {
        "no space": ["--space", "nothing"],
        "no profile": [*SPACE, "--profile", "labtop"],
        "own budget": [*SPACE, "--dry-run", "--set", "arms.dense.epochs=1"],
        "no data": [*missing, str(folder / "data")],
        "no data again": [*missing, str(folder / "data")],
        "large batch": [*SPACE, *batch, "--results", str(folder / "batch")],
        "no network": [*SPACE, "--set", "trial.backbone.name=torchvision:resnet81", "--results", str(folder / "net")],
        "no teacher": [*SPACE, *taught, "--set", f"trial.teacher={teacher}", "--results", str(folder / "teacher")],
        "no folder": [*SPACE, "--results", str(folder / "file")],
        "no ray": [*SPACE, "--address", "127.0.0.1:1", "--results", str(folder / "deep" / "down")],
        "no data there": [*missing, str(folder / "there")],
    }
    there = load_study("dense_vs_oneway", None, missing[3:6:2])
    (folder / "there" / f"{there.name}-{there.content_hash()}").mkdir(parents=True)
    (folder / "there" / f"{there.name}-{there.content_hash()}" / "kept").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(ray, "init", started)
        return {case: status_and_stderr(words) for case, words in cases.items()}, folder


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no space", "--space nothing: no such space"),
        ("no profile", "--profile labtop: no such profile, did you mean laptop?"),
        ("own budget", "--set: arms.dense.epochs: must be the same in the whole study"),
        ("no data", "data.root: give the folder that holds the files, or set data.download: true; cifar10 is not in"),
        ("no data again", "data.root: give the folder that holds the files, or set data.download: true"),
        ("large batch", "optimiser.batch_size: must be at most the 1078 training images, got 5000"),
        ("no network", "arms.baseline: trial.backbone.name: must be a classification network of torchvision"),
        ("no teacher", "arms.baseline: trial.teacher.weights: must be a file of weights"),
        ("no folder", "--results "),
        ("no ray", "--address 127.0.0.1:1: cannot be joined: "),
    ],
)
def test_what_is_refused_gets_one_line_and_status_2(refused, case, message):
    status, said = refused[0][case]
    assert status == 2
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_refused_study_leaves_no_results(refused):
    assert {path.name for path in refused[1].iterdir()} == {"file", "there"}
    (study,) = (refused[1] / "there").iterdir()
    assert {path.name for path in study.iterdir()} == {"kept", "lock"}, "what was there before stays"
    assert (refused[1] / "file").read_text() == ""
