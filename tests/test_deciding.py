"""Who takes the next report seeds, by what the first ones say."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looking_studies import EFFECTS, looking, outcome_of, play, seeds_by_arm

from dks_study.analysis.statistics.paired import holm
from dks_study.describing import print_plan
from dks_study.engine.closing import missing
from dks_study.spec.files import changed_study
from dks_study.spec.yamldoc import SpecError
from dks_study.study.cell import Cell
from dks_study.study.deciding import Growth, errors_of, growth, shares, undecided
from dks_study.study.ledger import Outcome, Record
from dks_study.study.planner import Planner, Step
from dks_study.study.sequential import LEVEL, seen
from dks_study.watch.progress import Tracker

STUDY = looking()


def errors(effects, seeds):
    """Return errors by arm and position; arms with as many seeds as `seeds` says."""
    return {
        arm: {p: effect + random.Random(f"{arm}{p}").gauss(0, 1) for p in range(seeds[arm])}
        for arm, effect in effects.items()
    }


def test_an_arm_that_is_decided_takes_no_more_seeds_and_the_reference_goes_on():
    assert seeds_by_arm(play(STUDY)) == {"baseline": 12, "ds": 12, "dense": 6}


def test_all_end_when_all_are_decided():
    effects = {"baseline": 0.0, "ds": 6.0, "dense": -6.0}
    assert seeds_by_arm(play(STUDY, outcome=lambda cell: outcome_of(cell, effects))) == dict.fromkeys(EFFECTS, 6)


def test_without_looks_all_arms_take_all_seeds():
    fixed = changed_study(STUDY, ["table.looks=null"])
    assert seeds_by_arm(play(fixed)) == dict.fromkeys(EFFECTS, 12)


def test_with_a_margin_an_arm_that_is_as_good_is_decided_too():
    wide = looking("table.margin=3.0")
    counts = seeds_by_arm(play(wide))
    assert counts["ds"] < 12, "equivalent"
    assert counts["baseline"] == max(counts["ds"], counts["dense"])


@settings(max_examples=20)
@given(st.integers(0, 2**30), st.integers(1, 7), st.integers(0, 40))
def test_interrupted_anywhere_it_trains_the_same_trials(seed, slots, stop_after):
    order = random.Random(seed)
    whole = play(STUDY)
    first = play(STUDY, order, slots, stop_after=stop_after)
    resumed = play(STUDY, order, slots, records=first)
    assert {record.cell.id for record in resumed} == {record.cell.id for record in whole}
    assert len(resumed) == len(whole), "no trial twice"


def test_nothing_of_the_next_seeds_begins_before_all_of_the_first_have_ended():
    planner = Planner(STUDY, lambda *_: {})
    first = [planner.next() for _ in range(18)]
    assert all(isinstance(cell, Cell) and cell.index < 6 for cell in first)
    for cell in first:
        assert planner.next() is Step.WAIT
        planner.settle(cell.id, outcome_of(cell))
    assert planner.next().index == 6


def test_an_arm_that_others_are_compared_with_grows_with_them():
    study = looking("arms.other={loss.pairing: none}", "table.against={dense: other}")
    effects = {"baseline": 0.0, "ds": 9.0, "dense": 0.1, "other": 0.0}
    counts = seeds_by_arm(play(study, outcome=lambda cell: outcome_of(cell, effects)))
    assert counts == {"baseline": 6, "ds": 6, "other": 12, "dense": 12}


def test_a_lost_trial_counts_as_a_seed_that_is_not_there():
    def outcome(cell):
        return Outcome("failed", {}, "boom") if (cell.arm, cell.index) == ("dense", 2) else outcome_of(cell)

    records = play(STUDY, outcome=outcome)
    assert seeds_by_arm(records)["dense"] >= 6
    assert errors_of((record.cell, record.outcome) for record in records)["dense"][2] is None


def test_a_searched_study_looks_at_what_its_search_chose():
    study = looking(
        "search={trials: 2, seed: 99, axes: {optimiser.lr: {float: [0.01, 0.2], log: true}}}", first=6, seeds=8
    )
    records = play(study, suggest=lambda *_: {"optimiser.lr": 0.06})
    rows = [row for r in records if r.cell.arm == "dense" and r.cell.phase == "confirm" for row in r.cell.rows]
    assert rows.count("tuned") == rows.count("written") == 6
    assert seeds_by_arm(records)["ds"] > seeds_by_arm(records)["dense"]


def test_who_is_undecided_is_what_holm_says_of_the_p_that_allow_for_looks():
    random_ = random.Random(3)
    for _ in range(6):
        effects = {"baseline": 0.0, "ds": random_.uniform(-2, 2), "dense": random_.uniform(-2, 2)}
        found = errors(effects, dict.fromkeys(effects, 12))
        parts = shares(STUDY, range(12))
        assert parts == pytest.approx([n / 12 for n in (6, 8, 10, 12)])
        p_values = [seen([found[arm][p] - found["baseline"][p] for p in range(12)], parts).p for arm in ("ds", "dense")]
        wanted = {arm for arm, p in zip(("ds", "dense"), holm(p_values), strict=True) if p >= LEVEL}
        assert undecided(STUDY, found, 12) == wanted


def test_how_far_arms_have_grown_by_now():
    begun = errors(EFFECTS, {"baseline": 6, "ds": 6, "dense": 5})
    assert growth(STUDY, begun) == Growth(dict.fromkeys(EFFECTS, 12), 6)
    looked = growth(STUDY, errors(EFFECTS, dict.fromkeys(EFFECTS, 6)))
    assert looked == Growth({"baseline": 12, "ds": 12, "dense": 6}, 8)
    assert (looked.takes("ds", 7), looked.takes("ds", 8), looked.takes("dense", 6)) == (True, None, False)
    assert not looked.over
    done = growth(STUDY, errors(EFFECTS, {"baseline": 12, "ds": 12, "dense": 6}))
    assert done == Growth({"baseline": 12, "ds": 12, "dense": 6}, 12)
    assert done.over


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["table.looks={first: 12}"], "table.looks.first: must be below the number of report seeds (12), got 12"),
        (["table.looks={first: 1}"], "table.looks.first"),
        (["table.looks={first: 6, every: 0}"], "table.looks.every"),
        (["table.looks={first: 6, rule: other}"], "table.looks.rule"),
        (
            [f"report_seeds={list(range(60))}", "table.looks={first: 6}"],
            "table.looks.every: must leave at most 50 looks, got 1, which leaves 55",
        ),
        (
            ["arms={baseline: {loss.pairing: none}}"],
            "table.looks: must be left out where no arm is compared with another, got the arm baseline alone",
        ),
        (
            [
                "search={trials: 2, objectives: [val/top1/main, cost/macs_train], seed: 99,"
                " axes: {optimiser.lr: {float: [0.01, 0.2]}}}"
            ],
            "search.objectives: must be one with table.looks, which decides about one setting of an arm, got",
        ),
    ],
)
def test_what_cannot_be_looked_at_is_said_in_one_line(overrides, told):
    with pytest.raises(SpecError) as refused:
        changed_study(STUDY, overrides)
    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_looks_are_left_out_of_the_hashes_of_studies_without_them():
    fixed = changed_study(STUDY, ["table.looks=null"])
    assert "looks" not in fixed.hashed()["table"]
    assert fixed.content_hash() != STUDY.content_hash()


def test_the_plan_says_when_it_looks(tmp_path, capsys):
    assert print_plan(STUDY, tmp_path / "small") == 0
    out = capsys.readouterr().out
    assert "at most 36 confirmation trials" in out
    assert "looks after 6, 8, 10, 12 report seeds: an arm that is decided takes no more (Lan and DeMets 1983" in out
    assert "smallest difference" not in out


def test_what_is_planned_shrinks_to_what_was_trained():
    records = play(STUDY)
    tracker = Tracker(STUDY)
    assert tracker.trials == 36
    assert tracker.open_fronts == set(EFFECTS), "at most"
    for record in records[:18]:
        tracker.settle(record.cell, record.outcome)
    assert tracker.planned["dense"]["confirm"] == 6
    assert tracker.open_fronts == {"baseline", "ds"}
    for record in records[18:]:
        tracker.settle(record.cell, record.outcome)
    assert tracker.trials == len(records) == 30
    assert not tracker.open_fronts


def test_by_the_clock_a_seed_begins_with_all_arms_that_still_grow():
    asked = []

    def may_begin(cells):
        asked.append([(cell.arm, cell.index) for cell in cells])
        return len(asked) < 9

    planner, ended = Planner(STUDY, lambda *_: {}), []
    while isinstance(cell := planner.next(may_begin), Cell):
        planner.settle(cell.id, outcome_of(cell))
        ended.append(Record(cell, outcome_of(cell), "hash", "now"))
    assert asked[5:7] == [[(arm, 5) for arm in EFFECTS], [("baseline", 6), ("ds", 6)]]
    assert seeds_by_arm(ended) == {"baseline": 8, "ds": 8, "dense": 6}
    assert missing(STUDY, ended).startswith("8 of 12 report seeds are done; missing: at most 14 confirmation trials")
