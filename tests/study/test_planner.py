"""The plan is a function of the study and the outcomes: order of finishing and interruptions change nothing."""

import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from played import outcome_of, play, suggest
from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.spec.study import StudySpec
from dks_study.study import planner as planner_module
from dks_study.study.cell import Cell
from dks_study.study.choosing import Tried, ranked, tried
from dks_study.study.ledger import Outcome
from dks_study.study.planned import planned
from dks_study.study.planner import Planner


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


def racing(repeats=2, **search):
    values = small_study(trials=4, report_seeds=(0, 1, 2)).model_dump(mode="json", by_alias=True, exclude_unset=True)
    values["search"] |= {"finalists": 2, "race_seeds": 2, "repeats": repeats, **search}
    return StudySpec.model_validate_json(json.dumps(values))


@given(st.integers(0, 2**30), st.integers(1, 5), st.integers(1, 3), st.integers(0, 70))
def test_races_and_repeated_searches_go_on_to_the_same_trials(seed, slots, repeats, stop_after):
    study, order = racing(repeats), random.Random(seed)
    uninterrupted = play(study, random.Random(0), 1)
    first = play(study, order, slots, stop_after=stop_after)
    resumed = play(study, order, slots, records=first)
    assert {r.cell.id: r.cell for r in resumed} == {r.cell.id: r.cell for r in uninterrupted}
    assert len(resumed) == len(uninterrupted), "no trial twice"


UNMET = {"loss.temperature": {"float": [1.0, 4.0], "when": {"loss.pairing": ["cross"]}}}  # in every arm here


@pytest.mark.parametrize("search", [{"trials": 0}, {"axes": UNMET}])
def test_where_nothing_is_searched_there_are_no_repeats_to_spread_seeds_over(search):
    values = racing(3).model_dump(mode="json", by_alias=True, exclude_unset=True)
    values["search"] |= search
    study = StudySpec.model_validate_json(json.dumps(values))
    assert {r.cell.repeat for r in play(study, random.Random(1), 2)} == {0}
    assert {r.cell.repeat for r in play(racing(3), random.Random(1), 2)} == {0, 1, 2}


def test_every_arm_has_the_same_budget_and_seeds_are_never_shared():
    study = racing()
    cells = [r.cell for r in play(study, random.Random(1), 3)]
    for arm, plan in planned(study).items():
        mine = [c for c in cells if c.arm == arm]
        assert [c.phase for c in mine].count("search") == plan["search"] == 8
        assert [c.phase for c in mine].count("race") == plan["race"] == 8
    seeds = {(c.phase, c.repeat): {o.seed for o in cells if (o.phase, o.repeat) == (c.phase, c.repeat)} for c in cells}
    searching = [seeds[phase, repeat] for phase in ("search", "race") for repeat in (0, 1)]
    assert all(not one & other for one, other in itertools.combinations(searching, 2))
    assert not set.union(*searching) & set(study.report_seeds)
    for repeat in (0, 1):
        raced = {
            arm: {c.seed for c in cells if (c.arm, c.phase, c.repeat) == (arm, "race", repeat)} for arm in study.arms
        }
        assert len(set(map(frozenset, raced.values()))) == 1, "races are paired over arms"


def test_report_seeds_are_spread_over_the_searches_and_each_trains_what_its_own_chose():
    study = racing()
    planner, records = Planner(study, suggest), []
    while isinstance(cell := planner.next(), Cell):
        planner.settle(cell.id, outcome_of(cell))
        records.append(cell)
    for cell in records:
        if cell.phase == "confirm":
            assert cell.repeat == cell.index % 2
            written = cell.setting["optimiser.lr"] == study.trial.optimiser.lr
            assert written if "written" in cell.rows else cell.setting == planner.choice(cell.arm, cell.repeat)
            assert written or cell.choice == "tuned"
    assert planner.choice("dense", 0) != planner.choice("dense", 1), "searches are independent"


def test_an_arm_as_written_that_wins_its_race_is_trained_once_and_counts_twice():
    study, cells = racing(repeats=1), []
    planner = Planner(study, suggest)
    while isinstance(cell := planner.next(), Cell):
        best = cell.setting["optimiser.lr"] == study.trial.optimiser.lr and cell.arm == "ds"
        planner.settle(cell.id, Outcome("complete", {ACCURACY: 99.0}) if best else outcome_of(cell))
        cells.append(cell)
    confirmed = [c for c in cells if c.phase == "confirm" and c.arm == "ds"]
    assert [c.id for c in confirmed] == [f"ds-written-seed{seed}" for seed in study.report_seeds]
    assert all(set(c.rows.values()) == {"ds", "ds (as written)"} for c in confirmed)


def test_the_second_half_of_a_search_is_widened_where_the_first_ends_at_an_edge():
    study, asked = racing(trials=5, repeats=1), []
    axes = {"optimiser.lr": {"float": [0.01, 0.2], "log": True, "widen_to": [0.01, 0.9]}}
    values = study.model_dump(mode="json", by_alias=True, exclude_unset=True)
    values["search"]["axes"] = axes
    study = StudySpec.model_validate_json(json.dumps(values))

    def spy(search, index, tried, widened):
        asked.append((search[0], index, widened))
        return {"optimiser.lr": 0.2 if index == 2 else 0.03 + index / 1000}

    planner = Planner(study, spy)
    while isinstance(cell := planner.next(), Cell):
        good = cell.arm == "dense" and cell.index == 2
        planner.settle(cell.id, Outcome("complete", {ACCURACY: 90.0 if good else 50.0}))
    assert [(index, widened) for arm, index, widened in asked if arm == "dense"] == [
        (1, ()), (2, ()), (3, ("optimiser.lr",)), (4, ("optimiser.lr",)),
    ]  # fmt: skip
    assert not any(widened for arm, _, widened in asked if arm != "dense")


def test_the_first_half_of_a_search_is_ranked_once(monkeypatch):
    study, calls = racing(trials=12, repeats=1), []
    monkeypatch.setattr(planner_module, "ranked", lambda *given: calls.append(given) or ranked(*given))
    planner = Planner(study, lambda search, index, tried, widened: {"optimiser.lr": 0.03 + index / 1000})
    while isinstance(cell := planner.next(), Cell):
        planner.settle(cell.id, Outcome("complete", {ACCURACY: 50.0}))
    assert len(calls) == len(study.arms)


def test_an_ended_search_trial_is_read_once_however_many_come_after_it(monkeypatch):
    study, read = racing(trials=12, repeats=1), []
    monkeypatch.setattr(
        planner_module, "tried", lambda study, cell, outcome: read.append(cell.id) or tried(study, cell, outcome)
    )
    play(study, random.Random(0), 1)
    searches = [name for name in read if "-search-" in name]
    assert len(searches) == len(set(searches)) == 12 * len(study.arms)


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
