"""A real study grows until its arms are decided, and is killed meanwhile."""

import json
import shutil
import subprocess
import sys

import pytest
from whole_studies import PROFILE, ROOT, same_tables, wait_until, write_study

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
def test_a_study_of_repeated_searches_grows_by_whole_searches_and_adopts_those_that_it_has(tmp_path):
    searched = PROFILE.replace("epochs: 6", "epochs: 1").replace("seed: 99", "seed: 99, repeats: 2")
    space = write_study(tmp_path, profile=searched.replace("[0, 1, 2]", "[0, 1]"))
    run = [sys.executable, str(ROOT / "run_study.py"), "--space", str(space), "--results", str(tmp_path / "results")]
    subprocess.run(run, cwd=ROOT, check=True)
    (old,) = (tmp_path / "results").glob("*-*")
    options = ("--until", "decided", "--at-most", "8")
    subprocess.run([sys.executable, str(ROOT / "run_study.py"), "grow", str(old), *options], cwd=ROOT, check=True)
    new = grown_folder(old) or old
    text, trials = (new / "table.md").read_text(), load_results(new).trials
    assert "Grown until decided: " in text
    assert "on the means of the searches, by t with bounds that hold at all looks together" in text
    assert "Intervals and p allow for that as their first look" in text
    adopted = trials[trials["adopted_from"].notna()]
    assert set(adopted["trial"]) == set(load_results(old).trials["trial"]), "nothing is trained again"
    tuned = trials[(trials["phase"] == "confirm") & (trials["choice"] == "tuned")]
    assert (tuned["repeat"] == tuned["seed"]).all(), "each seed has a search of its own"
