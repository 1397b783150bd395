"""The notebooks: short, clean as they lie here, and what they show comes out again when they run."""

import json
import os
import runpy
import shutil
import sys

import nbformat
import pytest
from made_up import made_up, write
from nbclient import NotebookClient

from dks_study.analysis.kept import FOLDER_VARIABLE, SHIPPED, kept
from dks_study.analysis.report.page import write_report
from dks_study.analysis.rows import table_rows
from dks_study.analysis.tables.bundle import bundle
from dks_study.analysis.tables.study import arm_table, to_markdown, write_tables
from dks_study.study.results import ResultsError, load_results

ROOT = SHIPPED.parents[1]
NOTEBOOKS = sorted(SHIPPED.parent.glob("*.ipynb"))
STUDIES = sorted(path.parent for path in SHIPPED.glob("*/provenance.json"))
MOST_LINES, MOST_BYTES, MOST_KEPT_BYTES = 40, 400_000, 1_500_000  # 17 arms, the most that one has


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def texts(notebook):
    return [
        output["data"]["text/markdown"] for output in outputs(notebook) if "text/markdown" in output.get("data", {})
    ]


def test_there_is_a_notebook_for_each_question():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07", "08"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_and_was_run_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(len(cell.source.splitlines()) for cell in code) < MOST_LINES
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {output.output_type for output in outputs(notebook)} <= {"execute_result", "display_data"}
    assert all(cell.outputs for cell in code), "every cell shows something"
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_the_tables_of_a_kept_study_come_out_of_its_trials(folder, tmp_path):
    assert write_tables(load_results(folder), tmp_path) == (folder / "table.md").read_text(encoding="utf-8")
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_KEPT_BYTES


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_a_kept_study_says_where_it_comes_from_and_names_no_place(folder):
    text = (folder / "provenance.json").read_text(encoding="utf-8")
    for session in json.loads(text)["sessions"]:
        assert session["git_revision"]
        assert session["git_dirty"] is False
    assert not [value for value in _strings(json.loads(text)) if value.startswith("/")]


def _strings(value):
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
    elif isinstance(value, str):
        yield value


def test_the_newest_study_of_a_folder_is_taken_where_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(ResultsError, match="holds no results of small at the scale test"):
        kept("small", "test")
    for name, started in (("old", "2026-01-01"), ("new", "2026-01-02"), ("running", "2026-01-03")):
        path = write(tmp_path / name, made_up(seeds=2 if name == "new" else 3)) / "provenance.json"
        known = json.loads(path.read_text())
        known["sessions"][0]["started"] = started
        path.write_text(json.dumps(known))
    (tmp_path / "running" / "trials.parquet").unlink()
    assert len(kept("small", "test").study.report_seeds) == 2


def test_a_study_is_kept_with_its_table_and_the_epochs_of_its_confirmations(tmp_path, monkeypatch):
    study = write(tmp_path / "study", made_up())
    table = write_tables(load_results(study), study)
    monkeypatch.setattr(sys, "argv", ["keep.py", str(study), str(tmp_path / "kept")])
    runpy.run_path(str(ROOT / "analysis" / "keep.py"), run_name="__main__")
    kept_one = load_results(tmp_path / "kept")
    assert (tmp_path / "kept" / "table.md").read_text() == table
    assert len(kept_one.trials) == len(load_results(study).trials)
    assert set(kept_one.epochs["phase"]) == {"confirm"}


@pytest.mark.slow
@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_who_has_only_the_folder_gets_the_report_with_every_table_and_figure(folder, tmp_path):
    bundle(folder, tmp_path / "copy")
    results = load_results(tmp_path / "copy")
    text = write_report(results, tmp_path / "copy").read_text(encoding="utf-8")
    for title in ("Paired differences", "Learning curves", "Error of each classifier", "Error and cost"):
        assert f"<b>{title}.</b>" in text
    assert ("<b>Search history.</b>" in text) == bool(results.study.search.axes and results.study.search.trials != 0)
    assert to_markdown(arm_table(results)).count("±") >= len(table_rows(results))


# What of each notebook is there for who has run the README's first command alone.
THERE = {"01": 5, "02": 0, "03": 1, "04": 1, "05": 2, "06": 1, "07": 0, "08": 0}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_on_ones_own_results_a_notebook_leaves_out_by_name_what_is_not_there(path, tmp_path, monkeypatch):
    own = next(folder for folder in STUDIES if folder.name.startswith("dense_vs_oneway"))
    shutil.copytree(own, tmp_path / own.name)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    left_out = [text for text in texts(notebook) if text.startswith("*Left out: ")]
    assert all(text.startswith(f"*Left out: {tmp_path}: holds no results of ") for text in left_out)
    assert len(outputs(notebook)) - len(left_out) == THERE[path.name[:2]]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_showed(path, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    before, figures = texts(notebook), sum("image/png" in output.get("data", {}) for output in outputs(notebook))
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert texts(notebook) == before
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) == figures > 0
