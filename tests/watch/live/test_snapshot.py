"""What a page may show of a study, and what it may not before the confirmation is complete."""

import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from half_done import AHEAD, EPOCHS, RUNNING, accuracy_of, half_done, lose, train
from scipy.stats import ttest_1samp

from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell
from dks_study.watch.live.page import filed, served, side_by_side, studies_data, study_data
from dks_study.watch.live.snapshot import CURVES, POINTS, snapshot

OTHER = Cell("baseline", "confirm", 1, 1, EPOCHS, {})


@pytest.fixture
def folder(tmp_path):
    return half_done(tmp_path / "small-1")


def test_it_counts_by_arm_and_phase(folder):
    train(folder)
    lose(folder, OTHER, "no memory")
    seen = snapshot(folder)
    parts = {(arm.name, part.phase): part for arm in seen.arms for part in arm.parts}
    assert list(parts) == [(arm, phase) for arm in ("baseline", "dense") for phase in ("search", "confirm")]
    counted = {key: (p.planned, p.complete, p.stopped, p.lost, p.running) for key, p in parts.items()}
    assert counted["baseline", "search"] == counted["dense", "search"] == (2, 2, 0, 0, 0)
    assert counted["baseline", "confirm"] == (4, 1, 0, 1, 0)
    assert counted["dense", "confirm"] == (4, 0, 0, 0, 1)
    assert (seen.trials, seen.state, seen.at_most) == (12, "running", False)
    assert seen.about.startswith("running: process ")
    assert seen.lost == (("baseline/confirm/seed1", "failed: no memory"),)
    assert [arm.best for arm in seen.arms] == [81.0, 81.0]
    assert seen.seconds_left == pytest.approx((3 * EPOCHS + 2) + 2 * EPOCHS), "a second for each epoch"


def test_search_history_has_what_was_tried_and_the_best_so_far(folder):
    first, second = snapshot(folder).searches
    assert first.trials == second.trials == ((0, 20.0, 20.0), (1, 19.0, 19.0))
    assert snapshot(folder).objective == "validation error (%)"


def test_curves_are_of_validation_the_running_first(folder):
    train(folder)
    running, *rest = snapshot(folder).curves
    assert (running.trial, running.done, running.epochs) == (RUNNING.name, 2, EPOCHS)
    assert running.errors == ((1, 39.0), (2, 38.0))
    assert running.wrote == (folder / "trials" / RUNNING.id / "trial.json").stat().st_mtime, "its latest file"
    assert [curve.wrote for curve in rest] == [None] * 5
    assert rest[0].trial.startswith("baseline/"), "the latest that ended"


def test_long_curves_are_thinned_and_many_are_cut(folder):
    train(folder, epochs=10 * POINTS + 3)
    for seed in range(CURVES + 3):
        train(folder, Cell("dense", "search", 10 + seed, 99, EPOCHS, {}))
    curves = snapshot(folder).curves
    assert len(curves) == CURVES
    errors = curves[0].errors
    assert POINTS / 2 < len(errors) <= POINTS
    assert errors[-1][0] == 10 * POINTS + 3
    assert len({after[0] - before[0] for before, after in itertools.pairwise(errors)}) == 1


def test_what_is_not_finite_is_not_drawn(folder):
    trial = folder / "trials" / RUNNING.id
    train(folder)
    with (trial / "epochs.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 3.0, ACCURACY: math.nan}) + "\n")
    assert [epoch for epoch, _ in snapshot(folder).curves[0].errors] == [1, 2]


def numbers_in(text):
    """Return the numbers of a text to three digits, however they are written and rounded there."""
    return {f"{float(each):.3g}" for each in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", text)}


def sealed_numbers():
    """Return what is to be seen nowhere: test accuracies and errors, their means, effects by seed, and mean, and p."""
    cells = {(arm, seed): Cell(arm, "confirm", seed, seed, EPOCHS, {}) for arm in AHEAD for seed in (0, 1)}
    tests = {key: accuracy_of(cell) for key, cell in cells.items()}
    effects = [tests["dense", seed] - tests["baseline", seed] for seed in (0, 1)]
    means = [sum(tests[arm, seed] for seed in (0, 1)) / 2 for arm in AHEAD]
    found = [*tests.values(), *means, *effects, sum(effects) / 2]
    return {f"{each:.3g}" for each in [*found, *(100 - each for each in found), ttest_1samp(effects, 0).pvalue]}


def pages_of(seen):
    drawn = [filed(seen), served(seen, "n", alone=True), side_by_side([seen], "n")]
    return [*drawn, json.dumps(study_data(seen)), json.dumps(studies_data([seen]))]


@pytest.mark.parametrize("confirmed", range(8))
def test_no_test_number_or_effect_is_on_a_page_before_the_confirmation_is_complete(tmp_path, confirmed):
    folder = half_done(tmp_path / "small-1", confirmed)
    train(folder)
    seen = replace(snapshot(folder), taken=0.0, seconds_left=None)  # neither is of images, and both may be any number
    seen = replace(seen, curves=tuple(replace(each, wrote=each.wrote and 0.0) for each in seen.curves))
    assert seen.state == "running"
    hidden = sealed_numbers()
    assert [numbers_in(page) & hidden for page in pages_of(seen)] == [set()] * 5
    assert "Sealed: test errors, effects and p-values" in filed(seen)
    assert not confirmed or numbers_in((folder / "ledger.jsonl").read_text()) & hidden, "they are known to its files"
    for leak in ("-3.57 points", "error 8.25 %", "dense 3.5718290 better", f"p = {min(hidden, key=float)}"):
        assert all(numbers_in(page) & hidden for page in pages_of(replace(seen, question=leak))), "or nothing is held"


def test_a_page_shows_words_of_a_study_as_text(folder):
    wrong = "</script><script>alert(1)</script>"
    lose(folder, OTHER, wrong)
    page = filed(snapshot(folder))
    assert page.count("<script") == page.count("</script>") == 2
    data = page.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["lost"] == [["baseline/confirm/seed1", f"failed: {wrong}"]]


def test_a_study_that_is_being_started_has_a_page(tmp_path):
    folder = tmp_path / "small-1"
    folder.mkdir()
    (folder / "lock").write_text("process 1 on elsewhere since 2026-01-01 00:00:00")
    seen = snapshot(folder)
    assert (seen.state, seen.arms) == ("unseen", ())
    assert "starting" in filed(seen)


def test_reading_needs_neither_torch_nor_pandas_nor_matplotlib():
    heavy = ("torch", "ray", "optuna", "pandas", "matplotlib", "pyarrow")
    code = (
        f"import sys, dks_study.watch.live.drawing, dks_study.watch.live.server; print(set({heavy}) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
