"""The plan is a function of the study and the outcomes: order of finishing and interruptions change nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from played import outcome_of, play, suggest
from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.study.choosing import Tried
from dks_study.study.ledger import Cell, Outcome
from dks_study.study.planner import Planner, planned


def choices_of(cell):
    return cell.rows if cell.phase == "confirm" else ()


@given(st.integers(0, 2**30), st.integers(1, 5), st.integers(1, 3), st.integers(0, 40))
def test_same_trials_whatever_the_order_and_wherever_it_stops(seed, slots, parallel, stop_after):
    study = small_study(trials=5, parallel=parallel)
    order = random.Random(seed)
    uninterrupted = play(study, random.Random(0), 1)
    first = play(study, order, slots, stop_after=stop_after)
    resumed = play(study, order, slots, records=first)
    assert {r.cell.id: r.cell for r in resumed} == {r.cell.id: r.cell for r in uninterrupted}
    assert len(resumed) == len(uninterrupted), "no trial twice"


def test_every_arm_gets_the_same_number_of_trials_and_all_seeds():
    study = small_study(trials=3)
    records = play(study, random.Random(1), 4)
    for arm, plan in planned(study).items():
        cells = [r.cell for r in records if r.cell.arm == arm]
        assert [c.phase for c in cells].count("search") == plan["search"] == 3
        rows = [row for c in cells if c.phase == "confirm" for row in c.rows.values()]
        for row in (arm, f"{arm} (as written)"):
            seeds = [c.seed for c in cells if c.phase == "confirm" and row in c.rows.values()]
            assert sorted(seeds) == list(study.report_seeds)
        assert len(rows) == plan["confirm"]


def test_trial_zero_is_the_arm_as_written_and_the_best_is_confirmed():
    study = small_study(trials=4)
    records = play(study, random.Random(2), 2)
    for arm in study.arms:
        trials = [r for r in records if r.cell.arm == arm and r.cell.phase == "search"]
        first = next(r for r in trials if r.cell.index == 0)
        assert first.cell.setting["optimiser.lr"] == study.trial.optimiser.lr
        best = max(trials, key=lambda r: r.outcome.metrics[ACCURACY])
        confirmed = [r.cell for r in records if r.cell.arm == arm and "tuned" in choices_of(r.cell)]
        assert len(confirmed) == len(study.report_seeds)
        assert all(c.setting == best.cell.setting and c.epochs == study.trial.epochs for c in confirmed)


def test_an_arm_whose_searches_all_fail_is_not_confirmed_and_the_others_go_on():
    study = small_study(trials=2)
    planner, ended = Planner(study, suggest), []
    while isinstance(cell := planner.next(), Cell):
        ended.append(cell)
        broken = cell.arm == "ds" and cell.phase == "search"
        planner.settle(cell.id, Outcome("failed", {}, "boom") if broken else outcome_of(cell))
    assert not [c for c in ended if c.arm == "ds" and c.phase == "confirm"]
    assert len([c for c in ended if "tuned" in choices_of(c)]) == 2 * len(study.report_seeds)


def test_a_failed_trial_is_never_the_choice_and_a_tie_goes_to_the_earlier():
    study = small_study(trials=3)
    planner = Planner(study, suggest)
    values = {
        0: Outcome("complete", {ACCURACY: 50.0}),
        1: Outcome("diverged", {}),
        2: Outcome("complete", {ACCURACY: 50.0}),
    }
    cells = {}
    while isinstance(cell := planner.next(), Cell) and cell.phase == "search":
        cells[cell.arm, cell.index] = cell
        planner.settle(cell.id, values[cell.index])
    assert planner.choice("ds") == cells["ds", 0].setting


def test_members_of_a_group_do_not_see_each_other():
    seen = []

    def spy(search, index, tried, widened):
        seen.append((index, [t.value for t in tried]))
        return {"optimiser.lr": 0.03 + index / 1000}

    planner = Planner(small_study(trials=4, parallel=2, arms=("ds",)), spy)
    while isinstance(cell := planner.next(), Cell) and cell.phase == "search":
        planner.settle(cell.id, Outcome("complete", {ACCURACY: float(cell.index)}))
    assert seen == [(1, [None]), (2, [0.0, 1.0]), (3, [0.0, 1.0, None])]


def test_settling_what_does_not_run_is_refused():
    planner = Planner(small_study(), suggest)
    with pytest.raises(ValueError, match="only a running trial"):
        planner.settle("dense-search-0", Outcome("complete", {}))
    assert Tried({}, None).value is None
