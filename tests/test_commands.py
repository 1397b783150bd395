"""Every command of README, manual, notes and spaces is run, or as much of it as is cheap, in a fresh copy of it all."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pages
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("benchmarks/*.md"), ROOT / "analysis" / "results" / "README.md", *pages.PAGES]
YAML = [*ROOT.glob("search_spaces/**/*.yaml")]
FOUND = sorted(
    {tuple(words): path.relative_to(ROOT) for path in PAGES + YAML for words in pages.commands_in(path)}.items()
)


def of(*beginning):
    """Return the commands that begin with one of these programs, without it."""
    cut = [(words, len(each.split())) for words, _ in FOUND for each in beginning if " ".join(words).startswith(each)]
    return sorted({words[length:] for words, length in cut})


ON_RESULTS = ("report", "overview", "bundle", "diff", "checklist")  # these need results: tests/test_pages.py runs them
OF_STUDIES = [
    words
    for words in of("python run_study.py", "run_study.py", "dks-study")
    if (words[1:] or words[:1] == ("--list",)) and words[0] not in ON_RESULTS
]
SCRIPTS = {words for words in of("python") if words[0].startswith("benchmarks/")}
SCRIPTS = sorted(SCRIPTS | {(str(path.relative_to(ROOT)),) for path in ROOT.glob("benchmarks/*.py")})

# Runs each command in this one process, as torch and ray take seconds to import: a study as far as its plan, others as
# far as their options. A script sees what it would see if it were run from a shell: its own folder, and dks_study.
DRIVER = """
import argparse, contextlib, io, json, os, runpy, sys, traceback
sys.path.insert(0, os.getcwd())
import dks_study
from dks_study import cli
assert dks_study.__file__.startswith(os.getcwd()), dks_study.__file__
sys.path[:2] = []
parse = argparse.ArgumentParser.parse_args

class Parsed(Exception):
    pass

def parsed(self, *words, **more):
    parse(self, *words, **more)
    raise Parsed

def result(call):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            return call() or 0, out.getvalue()
        except Parsed:
            return 0, ""
        except SystemExit as end:
            return end.code, out.getvalue()
        except BaseException:
            return 1, traceback.format_exc()

studies, scripts = json.loads(sys.argv[1])
found = []
for words in studies:
    planned = "--space" in words and not {"--check-data", "--plan-for"} & set(words)
    argparse.ArgumentParser.parse_args = parse if planned else parsed
    found.append(result(lambda: cli.main([*words, "--dry-run"] if planned else words)))
argparse.ArgumentParser.parse_args = parsed
for script, *options in scripts:
    sys.path.insert(0, os.path.join(os.getcwd(), "benchmarks"))
    sys.argv = [script, *options]
    found.append(result(lambda: runpy.run_path(script, run_name="__main__" if options else "imported") and None))
    del sys.path[0]
print(json.dumps(found))
"""


def write_copy(target):
    """Write a fresh copy of the tree, as git would check it out, and the files that the manual has its reader write."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file() and Path(name).suffix not in (".parquet", ".ipynb", ".pdf"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    for name, text in pages.files_of(pages.PAGES).items():
        (target / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """By command of a study, or script with its options: exit status and what was said; and the copy they ran in."""
    folder = tmp_path_factory.mktemp("commands")
    write_copy(folder)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    every = [list(words) for words in OF_STUDIES], [list(words) for words in SCRIPTS]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(every)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip([*OF_STUDIES, *SCRIPTS], json.loads(done.stdout.splitlines()[-1]), strict=True)), folder


@pytest.fixture
def results(commands):
    """By command: exit status and what was said."""
    return commands[0]


def test_commands_are_found_where_they_are():
    where = {str(path.relative_to(ROOT)) for path in PAGES + YAML if any(pages.commands_in(path))}
    assert {"README.md", "cluster/README.md", "CONTRIBUTING.md", "search_spaces/joint.yaml"} <= where
    assert {"docs/start/own-data.md", "docs/guides/my-slurm.md", "docs/reference/commands.md"} <= where
    assert all((ROOT / script).is_file() for script, *_ in SCRIPTS)
    assert len(SCRIPTS) > 10
    assert len(OF_STUDIES) > 20


@pytest.mark.parametrize("words", OF_STUDIES, ids=" ".join)
def test_a_study_s_command_is_read_and_planned(results, words):
    status, said = results[words]
    assert status == 0, said
    assert "--space" not in words or "--check-data" in words or "epochs" in said


@pytest.mark.parametrize("words", SCRIPTS, ids=" ".join)
def test_a_benchmark_finds_all_that_it_imports_and_knows_its_options(results, words):
    status, said = results[words]
    assert status == 0, said


def test_the_first_command_works_as_a_reader_types_it(commands):
    done = subprocess.run(
        [sys.executable, "run_study.py", "--space", "dense_vs_oneway.yaml", "--dry-run"],
        cwd=commands[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_what_pip_is_to_install_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for words in of("pip install"):
        assert "-c" not in words or (ROOT / words[words.index("-c") + 1]).is_file()
        for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
            assert extra in project["optional-dependencies"], words


def test_every_other_command_is_one_that_is_known():
    known = (
        "python run_study.py",
        "run_study.py",
        "dks-study",
        "python benchmarks/",
        "pip install",
        "pytest",
        ".ci/run",
    )
    known += (
        "tensorboard --logdir",
        "optuna-dashboard results",
        "ray get-auth-token",
        "sbatch",
        "python3 -m venv .venv",
    )
    known += ("source .venv", "ruff", "mypy", "lint-imports", "ray up", "ray dashboard cluster/", "python -c", "mkdocs")
    known += ("python analysis/keep.py", "cd results/STUDY/latex", "pdflatex tables.tex")
    known += ("prometheus --config.file", "ray metrics launch-prometheus")
    assert [words for words, _ in FOUND if not " ".join(words).startswith(known)] == []
    for words in of("python -c"):
        compile(words[0], "-c", "exec")
    assert all((ROOT / word).exists() for words, _ in FOUND for word in words if word.startswith(("cluster/", ".ci/")))
