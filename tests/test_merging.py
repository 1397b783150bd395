"""Studies that are the same but for their report seeds become one, whatever comes between."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, replace

import adoption
import numpy as np
import pytest
from halves import SEEDS, copies, everything, finished, in_ledger, made_apart, make, merge, refused, study_of
from whole_studies import ROOT, finish, lasting, records, same_tables, study_folder

from dks_study.spec.files import changed_study
from dks_study.studies import folder_of, read
from dks_study.study.ledger import read_ledger, read_outcome
from dks_study.study.predictions import write_predictions
from dks_study.study.results import load_study_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_apart(tmp_path_factory.mktemp("made"))


@pytest.fixture
def sides(made, tmp_path):
    return copies(made[:2], tmp_path)


def test_two_halves_are_the_study_that_trained_all_seeds(made, tmp_path, capsys):
    before = [everything(side) for side in made[:2]]
    folder = merge(*made[:2], into=tmp_path / "results")
    assert [everything(side) for side in made[:2]] == before
    assert folder.name == made[2].name
    assert load_study_of(folder) == load_study_of(made[2])
    assert same_tables(folder, made[2])
    assert lasting(folder) == lasting(made[2])
    assert not (tmp_path / "results" / ".merging").exists()
    out = capsys.readouterr().out
    counts = Counter(record.adopted_from for record in records(folder))
    given = ", ".join(f"{counts[side.name]} from {side.name}" for side in made[:2])
    assert f"{len(records(folder))} of 28 trials merged: {given}." in out
    assert (folder / "table.md").read_text().strip() in out


def test_each_line_says_where_it_is_from_and_all_sessions_are_kept(made, tmp_path):
    folder = merge(*made[:2], into=tmp_path / "results")
    ends = {record.cell.id: record.ended for side in made[:2] for record in records(side)}
    for record in records(folder):
        origin = made[int(record.cell.phase == "confirm" and record.cell.seed > 2)]
        assert record.adopted_from == origin.name
        assert (
            json.loads((folder / "trials" / record.cell.id / "origin.json").read_text())["adopted_from"] == origin.name
        )
        assert read_outcome(folder / "trials" / record.cell.id) == record.outcome
        if record.cell.phase == "confirm":
            assert record.ended == ends[record.cell.id]
    kept = json.loads((folder / "provenance.json").read_text())
    sessions = [json.loads((side / "provenance.json").read_text())["sessions"] for side in made[:2]]
    assert sorted(map(json.dumps, kept["sessions"])) == sorted({json.dumps(each) for side in sessions for each in side})
    assert set(kept["adopted"]) == {side.name for side in made[:2]}


def test_predictions_come_along_as_links(sides, tmp_path):
    theirs = min(sides[0].glob("trials/*-seed*"))
    write_predictions(theirs, ["main"], np.eye(3, dtype=np.float32)[None], np.arange(3))
    folder = merge(*sides, into=tmp_path / "results")
    assert (folder / "trials" / theirs.name / "predictions.npz").samefile(theirs / "predictions.npz")
    assert read(folder).found.predictions(theirs.name).labels.tolist() == [0, 1, 2]
    assert [path.parent.name for path in folder.glob("trials/*/predictions.npz")] == [theirs.name]


def test_best_checkpoints_come_along_as_links(made, tmp_path):
    folder = merge(*made[:2], into=tmp_path / "results")
    kept = sorted(path.parent.name for path in folder.glob("trials/*/last.pt"))
    rows = {row for record in records(folder) for row in record.cell.rows.values() if record.cell.phase == "confirm"}
    assert 0 < len(kept) <= len(rows)
    assert (folder / "trials" / kept[0] / "last.pt").stat().st_nlink > 1


def test_the_same_study_copied_and_gone_on_with_on_both(made, tmp_path, capsys):
    whole = made[2]
    halves = [shutil.copytree(whole, tmp_path / place / whole.name) for place in ("laptop", "server")]
    for number, half in enumerate(halves):
        gone = [
            r.cell.id
            for r in records(whole)
            if r.cell.phase == "confirm" and r.cell.seed > 1 and r.cell.seed % 2 == number
        ]
        lines = [json.dumps(asdict(record)) + "\n" for record in records(whole) if record.cell.id not in gone]
        (half / "ledger.jsonl").write_text("".join(lines))
        for trial in gone:
            shutil.rmtree(half / "trials" / trial)
    folder = merge(*halves, into=tmp_path / "results")
    assert folder.name == whole.name
    assert same_tables(folder, whole)
    assert {record.adopted_from for record in records(folder)} == {
        f"{place}/{whole.name}" for place in ("laptop", "server")
    }
    # sessions that both have are one
    assert len(json.loads((folder / "provenance.json").read_text())["sessions"]) == 1


def test_three_at_once_and_a_merged_study_merged_again(made, tmp_path):
    parts = [make(tmp_path / str(seed), seed) for seed in (3, 4)]
    assert same_tables(merge(made[0], *parts, into=tmp_path / "at once"), made[2])
    half = merge(made[0], parts[0], into=tmp_path / "half")
    folder = merge(half, parts[1], into=tmp_path / "again")
    assert same_tables(folder, made[2])
    assert {record.adopted_from for record in records(folder)} == {side.name for side in (made[0], *parts)}


def test_what_is_missing_is_left_to_train_and_said(sides, tmp_path, capsys):
    gone = records(sides[1])[-1].cell
    lines = (sides[1] / "ledger.jsonl").read_text().splitlines(keepends=True)
    (sides[1] / "ledger.jsonl").write_text("".join(lines[:-1]))
    folder = merge(*sides, into=tmp_path / "results")
    assert (
        f"To be trained, by the study's command with these seeds and --results: 1 ({gone.name})."
        in capsys.readouterr().out
    )
    assert len(records(folder)) == len(list(read_ledger(folder / "ledger.jsonl")))
    assert not (folder / "table.md").exists()
    assert adoption.adopt(study_of(*SEEDS), folder, [])[0][0] == replace(gone, index=SEEDS.index(gone.seed))


@pytest.mark.parametrize("name", ["trial.json", "epochs.jsonl", "outcome.json"])
def test_a_damaged_trial_is_not_taken_and_said(sides, tmp_path, capsys, name):
    gone = records(sides[1])[-1].cell
    path = sides[1] / "trials" / gone.id / name
    path.write_bytes(path.read_bytes()[:-2])
    folder = merge(*sides, into=tmp_path / "results")
    out = capsys.readouterr().out
    assert re.search(rf"Not taken: 1 \(.*{gone.id}: {name} is ", out)
    assert gone.name in out
    assert not (folder / "trials" / gone.id).exists()


def test_where_both_have_a_trial_the_whole_one_is_taken(sides, made, tmp_path):
    shutil.rmtree(sides[0] / "trials" / "arm0-search-0")
    assert same_tables(merge(*sides, into=tmp_path / "results"), made[2])


def test_lost_trials_stay_lost(sides, tmp_path, capsys):
    lost = records(sides[1])[-1]
    in_ledger(
        sides[1],
        lost.cell.id,
        lambda r: replace(r, outcome=replace(r.outcome, status="failed", metrics={}, error="why"), identity=None),
    )
    shutil.rmtree(sides[1] / "trials" / lost.cell.id)
    folder = merge(*sides, into=tmp_path / "results", code=1)
    (mine,) = (record for record in records(folder) if record.outcome.lost)
    assert (mine.cell.id, mine.outcome.error) == (lost.cell.id, "why")


def test_trials_that_the_merged_study_does_not_ask_for_are_named(tmp_path, capsys):
    """Of two searches of an arm the first two seeds confirm one each, so another place asks for another setting."""
    sides = []
    for place, seeds in (("a", (0, 1, 2)), ("b", (3, 4))):
        study = changed_study(study_of(*seeds), ["search.repeats=2"])
        sides.append(folder_of(study, tmp_path / place))
        adoption.make_up(study, sides[-1])
    folder = merge(*sides, into=tmp_path / "results")
    out, taken = capsys.readouterr().out, {record.cell.id for record in records(folder)}
    tuned = {f"arm{arm}-confirm-seed{seed}" for arm in (0, 1) for seed in (3, 4)}
    assert tuned & taken == set()
    assert {record.cell.id for record in records(sides[1])} - taken == tuned
    for trial in tuned:
        assert re.search(rf"Not taken: 4 .*{trial}: it trained something else than this study asks for", out)
    assert "To be trained, by the study's command with these seeds and --results: 4 (arm0/confirm/seed3" in out


def test_what_is_no_study_or_given_twice_or_there_already_is_refused(made, tmp_path, capsys):
    into = tmp_path / "results"
    assert "must be given two studies or more, each once" in refused(capsys, made[0], into=into)
    assert "must be given two studies or more, each once" in refused(capsys, made[0], made[0], made[1], into=into)
    assert "not the results of a study" in refused(capsys, made[0], tmp_path, into=into)
    folder = merge(*made[:2], into=into)
    before = everything(folder)
    capsys.readouterr()
    merge(*made[:2], into=into, code=2)
    assert f"{folder}: must not be there" in capsys.readouterr().err
    assert everything(folder) == before


@pytest.mark.slow
def test_two_merges_at_once_do_not_spoil_one_another(made, tmp_path):
    """One of them is refused, or finds that the other was there first."""
    words = [sys.executable, str(ROOT / "run_study.py"), "merge", *map(str, made[:2]), "--results", str(tmp_path / "r")]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], errors
    assert re.search("another process merges these studies|must not be there", "".join(errors))
    assert same_tables(next((tmp_path / "r").glob("donor-*")), made[2])


@pytest.mark.slow
def test_killed_at_any_time_it_leaves_no_study_and_works_when_given_again(tmp_path):
    sides = [make(tmp_path / str(seed), *range(seed, seed + 20), arms=3, searches=10) for seed in (0, 20)]
    whole = finished(make(tmp_path / "all", *range(40), arms=3, searches=10))
    before, into = [everything(side) for side in sides], tmp_path / "results"
    words = [sys.executable, str(ROOT / "run_study.py"), "merge", *map(str, sides), "--results", str(into)]
    building = into / ".merging" / whole.name / "ledger.jsonl"
    draw, kills = random.Random(0), 0
    while kills < 5:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        while process.poll() is None and not (building.exists() and building.stat().st_size > draw.random() * 90_000):
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        kills += 1
        assert not list(into.glob("*/ledger.jsonl"))  # where a study is looked for
        assert [everything(side) for side in sides] == before
    assert subprocess.run(words, stdout=subprocess.DEVNULL).returncode == 0
    assert same_tables(next(into.glob("donor-*")), whole)
    assert not building.parent.parent.exists()
    assert [everything(side) for side in sides] == before


@pytest.mark.slow
def test_real_halves_have_the_table_of_one_study_and_go_on_with_its_command(space, uninterrupted, tmp_path):
    halves = [finish(space, tmp_path / name, f"report_seeds={seeds}")[0] for name, seeds in (("a", [0, 1]), ("b", [2]))]
    words = [
        sys.executable,
        str(ROOT / "run_study.py"),
        "merge",
        *map(str, halves),
        "--results",
        str(tmp_path / "merged"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = study_folder(tmp_path / "merged")
    assert folder.name == uninterrupted[0].name
    assert same_tables(folder, uninterrupted[0])
    assert lasting(folder) == lasting(uninterrupted[0])
    report = (folder / "report.html").read_text()
    before = (folder / "ledger.jsonl").read_bytes()
    again = finish(space, tmp_path / "merged")
    assert again[0] == folder
    assert (folder / "ledger.jsonl").read_bytes() == before
    assert same_tables(folder, uninterrupted[0])
    assert f"report: {folder}/report.html" in done.stdout
    assert "were adopted from" in report
    assert ".merging" not in report
