"""A real study grows until its arms are decided, and is killed meanwhile."""

import json
import shutil
import subprocess
import sys

import pytest
from whole_studies import PATIENCE_S, ROOT, same_tables, wait_until


def grow(folder, *options):
    """Start `grow` on the study in `folder`; its output goes to a pipe."""
    words = [sys.executable, str(ROOT / "run_study.py"), "grow", str(folder), *options]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def grown_folder(old):
    return next((path for path in old.parent.glob("small-*") if path != old), None)


@pytest.mark.slow
def test_killed_while_it_grows_until_decided_it_goes_on_to_the_same_table(uninterrupted, tmp_path):
    olds = [shutil.copytree(uninterrupted[0], tmp_path / side / uninterrupted[0].name) for side in ("whole", "killed")]
    options = ("--until", "decided", "--at-most", "6", "--step", "2")
    whole = grow(olds[0], *options)
    assert whole.wait(PATIENCE_S) == 0, whole.stdout.read()
    process = grow(olds[1], *options)
    wait_until(lambda: (made := grown_folder(olds[1])) and any(made.glob("trials/*seed3/last.pt")), process)
    process.kill()
    process.wait()
    again = grow(olds[1], *options)
    assert again.wait(PATIENCE_S) == 0, again.stdout.read()
    one, other = map(grown_folder, olds)
    assert same_tables(one, other)
    text = (one / "table.md").read_text()
    assert "Grown until decided: " in text
    assert "after 3" in text
    lines = [json.loads(line) for line in (other / "ledger.jsonl").read_text().splitlines()]
    sealed = next(at for at, line in enumerate(lines) if "sealed" in line)
    assert "until decided" in lines[sealed]["sealed"]["looks"]
    assert all("cell" not in line or line["cell"]["phase"] != "confirm" for line in lines[:sealed])
    assert len({line["cell"]["arm"] for line in lines if "cell" in line}) == 2
