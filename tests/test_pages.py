"""Every block of README and manual is run: files are used, Python is executed, shell is read, or run on real results.

tests/test_commands.py reads and plans the commands of all pages; here those run that work on results.
"""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pages
import pytest
import torch
import yaml
from jsonschema import Draft7Validator

from dks_study import Problem, branched, cli, load, read, run
from dks_study.spec.data import DataSpec
from dks_study.spec.files import load_study
from dks_study.spec.schema import schemas
from dks_study.spec.study import arm_trial
from dks_study.training.data.custom import read_callable

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = [(page, block) for page in pages.PAGES for block in pages.blocks_of(page)]
FILES = pages.files_of(pages.PAGES)
ON_RESULTS = {"docs/guides/python.md", "docs/guides/papers-table.md"}  # what these pages run needs a study
SMALL = {
    "trial.epochs": 2,
    "report_seeds": [0, 1],
    "search.axes.epochs": {"int": [1, 2], "role": "nuisance"},
    "search.trials": 2,
    "search.repeats": 1,
    "search.finalists": 1,
    "search.race_seeds": 0,
}


def name_of(page):
    return str(page.relative_to(ROOT))


def run_python(page, namespace, smaller=("", "")):
    """Run the blocks of a page that are Python and no file, one after another, with one text in place of another."""
    ran = [block for block in pages.blocks_of(page) if block.language == "python" and not block.title]
    for block in ran:
        exec(compile(block.text.replace(*smaller), name_of(page), "exec"), namespace)
    return len(ran)


def with_python():
    return [page for page in pages.PAGES if any(b.language == "python" and not b.title for b in pages.blocks_of(page))]


def test_readme_is_short_and_has_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert text.count("\npip install -e . && python run_study.py --space dense_vs_oneway.yaml\n") == 1
    assert text.count("\npip install -e '.[test]' && pytest\n") == 1


def test_blocks_are_in_languages_that_are_run_or_are_no_code():
    assert {block.language for _, block in BLOCKS} <= {"bash", "python", "yaml", "text", "math", ""}
    assert all(block.language in ("bash", "python") for _, block in BLOCKS if block.why)
    assert len(FILES) == len([block for _, block in BLOCKS if block.title]) > 5, "two pages show a file of one name"


def test_shell_is_shell():
    texts = [block.text for _, block in BLOCKS if block.language == "bash"]
    done = subprocess.run(["bash", "-n"], input="\n".join(texts), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", [page for page in with_python() if name_of(page) not in ON_RESULTS], ids=name_of)
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_python(page, {}) > 0


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".yaml")])
def test_a_space_or_a_profile_is_one_that_runs(name, tmp_path):
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    kind = "space" if "question:" in FILES[name] else "profile"
    assert list(Draft7Validator(schemas()[kind]).iter_errors(yaml.safe_load(FILES[name]))) == []
    if kind == "space":
        assert load_study(str(tmp_path / name)).name == name.removesuffix(".yaml")
    else:
        assert load_study("does_it_help", str(tmp_path / name)).profile == name.removesuffix(".yaml")


TEACHER = {"teacher.weights": "search_spaces/teachers/digits_resnet14.pt"}
TEACHER |= {"teacher.backbone": {"name": "resnet", "depth": 14, "base_channels": 16}}
PARTS = [block.text for _, block in BLOCKS if block.language == "yaml" and not block.title]


def as_an_arm(part):
    """Return a study of which an arm has `part` as its part of `trial`, beside a teacher."""
    keys = {f"{section}.{key}": value for section, values in part.items() for key, value in values.items()}
    arms = {"baseline": {"branches.taps": [], "loss.pairing": "none"}, "part": TEACHER | keys}
    return load("against_the_family", set={"arms": arms})


@pytest.mark.parametrize("text", PARTS)
def test_a_part_of_a_file_is_one_that_a_study_takes_or_a_schema_that_ships(text):
    part = yaml.safe_load(text)
    if part is None:
        (named,) = re.findall(r"^# yaml-language-server: \$schema=schemas/(\w+)\.json$", text, re.MULTILINE)
        assert named in schemas()
        return
    trial = arm_trial(as_an_arm(part), "part", {}, epochs=1, phase="confirm", seed=0)
    found = trial.model_dump(mode="json", by_alias=True)
    for section, values in part.items():
        for key, value in values.items():
            assert within(value, found[section][key]), (section, key)
            wrong = {section: {**values, f"{key}s": value}}
            with pytest.raises(Problem, match=f"{section}.{key}s: unknown key"):
                as_an_arm(wrong)


def within(value, found):
    """Return whether what a part says is what came of it; defaults may stand beside."""
    if isinstance(value, dict):
        return all(within(each, found[key]) for key, each in value.items())
    return list(value) == list(found) if isinstance(value, list) else value == found


def module_of(name, folder, monkeypatch):
    (folder / f"{name}.py").write_text(FILES[f"{name}.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


def test_the_reader_s_own_data_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_python(ROOT / "docs/start/own-data.md", {}) == 1
    module_of("my_data", tmp_path, monkeypatch)
    source = read_callable(DataSpec(name="my_data:arrays", root=str(tmp_path)))
    assert (source.classes, len(source.pool.labels)) == (10, 1200)
    assert source.pool.images.dtype == torch.uint8


def test_the_reader_s_own_network_grows_branches(tmp_path, monkeypatch):
    network = module_of("my_network", tmp_path, monkeypatch).build(in_channels=1, classes=10)
    net = branched(network, taps=["block1", "block2"], classes=10, example=torch.zeros(2, 1, 8, 8))
    assert list(net(torch.zeros(2, 1, 8, 8))) == ["block1", "block2", "main"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder with two small studies, as the manual names them: results/STUDY and results/OTHER, of other seeds."""
    folder = tmp_path_factory.mktemp("manual")
    previous = Path.cwd()
    os.chdir(folder)
    try:
        for name, seeds in (("STUDY", [0, 1]), ("OTHER", [2, 3])):
            study = load("dense_vs_oneway", set=SMALL | {"report_seeds": seeds})
            (folder / "results" / name).symlink_to(run(study).folder.name)
    finally:
        os.chdir(previous)
    return folder


def on_results():
    """Return the commands of the manual that work on results/STUDY and end (`watch`: tests/watch)."""
    found = {tuple(words[1:]) for page in pages.MANUAL for words in pages.commands_in(page) if words[0] == "dks-study"}
    return sorted(words for words in found if "results" in " ".join(words) and words[0] != "watch")


@pytest.mark.slow
def test_commands_on_results_run(results, monkeypatch, capsys):
    monkeypatch.chdir(results)
    kept = (path.parent.name for path in sorted((results / "results/STUDY/trials").glob("dense-*/*.pt")))
    trial = next(kept)  # one with branches to leave at
    names = {words[0] for words in on_results()}
    assert {"report", "overview", "bundle", "grow", "merge", "diff", "clean", "export"} <= names
    for words in on_results():
        if words[0] == "grow" and "--dry-run" not in words:
            words += ("--dry-run",)
        status = cli.main([word.replace("TRIAL", trial) for word in words])
        said = capsys.readouterr()
        assert status == (1 if words[0] == "diff" else 0), (words, said.err)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ON_RESULTS))
def test_python_on_results_runs(name, results, monkeypatch):
    monkeypatch.chdir(results)
    namespace = {"images": torch.zeros(2, 1, 8, 8, dtype=torch.uint8)}
    assert run_python(ROOT / name, namespace, ('set={"trial.epochs": 10}', f"set={SMALL}")) == 1
    assert np.isfinite(namespace["results"].trials["val/top1/main"]).all()


@pytest.mark.slow
def test_every_column_is_told_and_every_one_that_is_told_is_there(results):
    found, page, metrics = read(results / "results/STUDY"), pages.told("columns.md"), pages.patterns_of_metrics()
    rows = {"Of a trial": found.trials, "Of an epoch": found.epochs}
    for title, frame in rows.items():
        own = set(page[title]) - {"setting/KEY", "plan_changed"}  # the latter is there where a plan was changed
        assert own <= set(frame.columns)
        rest = [name for name in frame.columns if name not in own and not name.startswith("setting/")]
        assert [name for name in rest if not any(re.fullmatch(each, name) for each in metrics)] == []


@pytest.mark.slow
def test_every_file_is_told(results):
    page = pages.told("files.md")
    names = {name.removesuffix("/") for each in page.values() for name in each}
    study = results / "results/STUDY"
    trials = list((study / "trials").iterdir())
    there = {re.sub(r"-\d+\.json", "-N.json", path.name) for folder in (study, *trials) for path in folder.iterdir()}
    assert {"ledger.jsonl", "trials.parquet", "trial.json", "outcome.json", "last.pt"} <= there
    assert sorted(there - names - {"trials"}) == []
