"""A real study grows until its arms are decided, and is killed meanwhile."""

import json
import shutil
import subprocess
import sys

import pytest
from whole_studies import ROOT, same_tables, wait_until


def grow(folder):
    """Return the command that lets the study in `folder` grow."""
    options = ("--until", "decided", "--at-most", "4", "--step", "1")
    return [sys.executable, str(ROOT / "run_study.py"), "grow", str(folder), *options]


def grown_folder(old):
    return next((path for path in old.parent.glob("small-*") if path != old), None)


@pytest.mark.slow
def test_killed_while_it_grows_until_decided_it_goes_on_to_the_same_table(uninterrupted, tmp_path):
    olds = [shutil.copytree(uninterrupted[0], tmp_path / side / uninterrupted[0].name) for side in ("whole", "killed")]
    subprocess.run(grow(olds[0]), cwd=ROOT, check=True)
    process = subprocess.Popen(grow(olds[1]), cwd=ROOT)
    wait_until(lambda: (made := grown_folder(olds[1])) and any(made.glob("trials/*seed3/last.pt")), process)
    process.kill()
    process.wait()
    subprocess.run(grow(olds[1]), cwd=ROOT, check=True)
    one, other = map(grown_folder, olds)
    assert same_tables(one, other)
    assert "Grown until decided: 2 looks, after 3, 4 of at most 4 report seeds." in (one / "table.md").read_text()
    lines = [json.loads(line) for line in (other / "ledger.jsonl").read_text().splitlines()]
    sealed = next(at for at, line in enumerate(lines) if "sealed" in line)
    assert "until decided" in lines[sealed]["sealed"]["looks"]
    assert all("cell" not in line or line["cell"]["phase"] != "confirm" for line in lines[:sealed])
