"""A real study grows until its arms are decided, and is killed meanwhile."""

import json
import shutil
import subprocess
import sys

import pytest
from whole_studies import PROFILE, ROOT, finish, same_tables, wait_until, write_study

from dks_study.study.results import load_results


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


@pytest.mark.slow
def test_a_study_of_repeated_searches_is_looked_at_by_whole_searches(tmp_path):
    profile = PROFILE.replace("epochs: 6", "epochs: 1").replace("seed: 99", "seed: 99, repeats: 8")
    looks = ("report_seeds=[0,1,2,3,4,5,6,7]", "table.looks={first: 2, every: 3}")
    folder, out, _ = finish(write_study(tmp_path, profile=profile), tmp_path / "results", *looks)
    text, trials = (folder / "table.md").read_text(), load_results(folder).trials
    assert "Grown until decided: " in text
    assert "p of the procedure (other searches, other seeds) by t with bounds that hold at all looks together" in text
    tuned = trials[(trials["phase"] == "confirm") & (trials["choice"] == "tuned")]
    assert (tuned["repeat"] == tuned["seed"]).all(), "each seed has a search of its own"
    ended = [line.partition("] ")[2].partition(":")[0] for line in out.splitlines() if "] " in line and ": val" in line]
    last = max(ended.index(name) for name in ended if name.endswith(("seed0", "seed1")))
    assert last < min(ended.index(name) for name in ended if "search2" in name), "no search before the look"
