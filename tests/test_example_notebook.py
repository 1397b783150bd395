"""The notebook that runs a study does, on a kernel of its own in a folder of its own."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "examples" / "study_in_a_notebook.ipynb"


def test_it_is_short_and_holds_no_output():
    notebook = nbformat.read(PATH, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(len(cell.source.splitlines()) for cell in cells) < 60
    assert not any(cell.outputs for cell in cells), "numbers belong to a run"


@pytest.mark.slow
def test_it_runs_and_draws_its_table(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    notebook = nbformat.read(PATH, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output["data"] for output in outputs if "data" in output]
    assert any("<table" in data.get("text/html", "") and "dks" in data["text/html"] for data in shown)
    assert any("image/png" in data for data in shown)
    assert not any(output.output_type == "error" for output in outputs)
