"""Studies that repeat their searches and look until their arms are decided: a look has whole searches."""

import random
from collections import Counter
from statistics import fmean

import played
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looking_studies import AXES, EFFECTS, outcome_of, play, searching
from scipy import stats
from studies import small_study

from dks_study.describing import print_plan
from dks_study.growing import _until
from dks_study.spec.files import changed_study
from dks_study.spec.yamldoc import SpecError
from dks_study.study.cell import Cell, search_seed
from dks_study.study.deciding import compared, errors_of, growth, shares
from dks_study.study.ledger import Outcome
from dks_study.study.planner import Planner, Step, trial_of
from dks_study.study.sealing import changes, plan_of
from dks_study.study.sequential import seen
from dks_study.watch.progress import Tracker

STUDY = searching()


def luck(cell):
    """Return the outcome of a trial whose error depends on its search and setting, too."""
    found = outcome_of(cell)
    lucky = random.Random(f"{cell.arm}{cell.repeat}{cell.setting}").gauss(0, 0.5)
    return Outcome("complete", {name: value + lucky for name, value in found.metrics.items()}, seconds=2.0)


def played_out(study=STUDY, **given):
    return play(study, suggest=played.suggest, **{"outcome": luck, **given})


def trials(records):
    """Return how many trials of each arm and phase there are, and how many searches."""
    counts = Counter((record.cell.arm, record.cell.phase) for record in records)
    searches = {
        arm: len({r.cell.repeat for r in records if (r.cell.arm, r.cell.phase) == (arm, "search")}) for arm in EFFECTS
    }
    return counts, searches


def test_an_arm_that_is_decided_takes_no_more_searches():
    counts, searches = trials(played_out())
    assert searches == {"baseline": 8, "ds": 8, "dense": 4}
    assert (counts["dense", "search"], counts["dense", "race"], counts["ds", "search"]) == (8, 8, 16)
    tuned = [r.cell for r in played_out() if r.cell.phase == "confirm" and "tuned" in r.cell.rows]
    seeds = {
        (cell.arm, cell.repeat): sorted(
            each.seed for each in tuned if (each.arm, each.repeat) == (cell.arm, cell.repeat)
        )
        for cell in tuned
    }
    assert seeds["ds", 0] == [0, 1]
    assert seeds["ds", 7] == [14, 15]
    assert max(repeat for arm, repeat in seeds if arm == "dense") == 3


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**30), st.integers(1, 7), st.integers(0, 80))
def test_interrupted_anywhere_it_trains_the_same_trials(seed, slots, stop_after):
    order = random.Random(seed)
    whole = played_out()
    first = played_out(order=order, slots=slots, stop_after=stop_after)
    resumed = played_out(order=order, slots=slots, records=first)
    cells = [sorted(str(record.cell) for record in records) for records in (resumed, whole)]
    assert cells[0] == cells[1], "settings and seeds, too, and no trial twice"


def test_no_search_begins_before_all_of_the_look_before_have_ended():
    planner, running = Planner(STUDY, played.suggest), []
    while isinstance(cell := planner.next(), Cell) or running:
        if isinstance(cell, Cell):
            if cell.repeat > 2:
                break
            running.append(cell)
        else:
            assert cell is Step.WAIT
            each = running.pop(0)
            planner.settle(each.id, luck(each))
    assert not running
    assert (cell.phase, cell.repeat) == ("search", 3)


def test_the_mean_of_a_search_counts_by_hand():
    errors = {"baseline": dict.fromkeys(range(6), 10.0), "dense": dict(enumerate([8.0, 6.0, 7.0, 7.0, 9.0, None]))}
    found = compared(STUDY, errors, "dense", 6)
    assert found == seen([-3.0, -3.0, -1.0], (3 / 8,))
    assert (found.mean, found.n) == (pytest.approx(-7 / 3), 3)
    assert found._p == pytest.approx(stats.ttest_1samp([-3, -3, -1], 0, alternative="less").pvalue)
    assert shares(STUDY, range(10)) == (3 / 8, 4 / 8, 5 / 8)
    assert compared(STUDY, {"baseline": errors["baseline"], "dense": {0: 8.0, 1: 6.0}}, "dense", 6) is None


def test_a_search_that_left_nothing_is_a_search_that_is_not_there():
    def outcome(cell):
        lost = (cell.arm, cell.repeat) == ("ds", 1) and cell.phase != "confirm"
        return Outcome("failed", {}, "boom") if lost else luck(cell)

    records = played_out(outcome=outcome)
    _, searches = trials(records)
    assert searches == {"baseline": 8, "ds": 8, "dense": 4}
    there = errors_of((record.cell, record.outcome) for record in records)
    assert sorted(there["ds"]) == [p for p in range(16) if p not in (2, 3)]
    assert growth(STUDY, there).seeds == {"baseline": 16, "ds": 16, "dense": 8}


def test_what_is_planned_shrinks_to_what_was_trained():
    records = played_out()
    tracker = Tracker(STUDY)
    for record in records:
        tracker.settle(record.cell, record.outcome)
    assert tracker.trials == len(records)
    assert not tracker.open_fronts


def test_seeds_of_searches_are_never_shared_and_those_of_the_first_look_stay():
    seeds = [search_seed(STUDY, repeat, place, 3) for repeat in range(8) for place in range(3)]
    assert len(set(seeds)) == len(seeds)
    assert not set(seeds) & set(STUDY.report_seeds)
    without = changed_study(STUDY, ["table.looks=null", "search.repeats=3", "report_seeds=[0, 1, 2, 3, 4, 5]"])
    assert seeds[:9] == [search_seed(without, repeat, place, 3) for repeat in range(3) for place in range(3)]


class Options:
    until, at_most, step, seeds = "decided", "16", None, None


def test_a_tuned_study_grows_and_keeps_all_that_it_has_trained():
    search = f"search={{trials: 2, repeats: 4, finalists: 2, race_seeds: 1, seed: 99, {AXES}}}"
    old = changed_study(small_study(trials=0, report_seeds=tuple(range(8))), [search])
    new = changed_study(old, list(_until(old, Options)))
    assert new.report_seeds == (0, 4, 1, 5, 2, 6, 3, 7, *range(8, 16))
    assert (new.searches, new.table.looks.first, new.table.looks.every) == (8, 8, 2)
    before = {trial_of(old, record.cell).content_hash() for record in played_out(old)}
    after = {trial_of(new, record.cell).content_hash() for record in played_out(new)}
    assert before < after
    assert changes(plan_of(old), plan_of(new)).startswith(
        "seeds 8, 9, 10, 11, 12, 13, 14, 15 added; looks after 8 of at"
    )


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("at_most", "14", "--at-most: must be at least 16, the seeds of 8 searches: fewer decide too little, got '14'"),
        ("at_most", "17", "--at-most: must be the seeds of whole searches (2 each), got '17'"),
        ("step", "3", "--step: must be the seeds of whole searches (2 each), got '3'"),
    ],
)
def test_what_has_no_whole_searches_is_refused_by_the_option(option, value, line):
    old = changed_study(
        small_study(trials=0, report_seeds=tuple(range(8))), [f"search={{trials: 2, repeats: 4, seed: 99, {AXES}}}"]
    )
    given = type("Given", (Options,), {option: value})
    with pytest.raises(SpecError) as refused:
        list(_until(old, given))
    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("search.repeats=4", "search.repeats: must be 1 or at least 8 with table.looks, as fewer searches decide too"),
        ("search.repeats=9", "search.repeats: must divide the number of report seeds (16) with table.looks, got 9"),
        ("table.looks.first=5", "table.looks.first: must be the report seeds of two searches or more (2 each), got 5"),
        ("table.looks.first=2", "table.looks.first: must be the report seeds of two searches or more (2 each), got 2"),
        ("table.looks.every=3", "table.looks.every: must be the report seeds of whole searches (2 each), got 3"),
    ],
)
def test_looks_that_have_no_whole_searches_are_refused_in_one_line(override, told):
    with pytest.raises(SpecError) as refused:
        changed_study(STUDY, [override])
    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_the_plan_says_that_searches_are_looked_at_too(tmp_path, capsys):
    assert print_plan(STUDY, tmp_path / "small") == 0
    out = capsys.readouterr().out
    assert "at most 48 search trials, 48 of finalists, 96 confirmation trials" in out
    assert "looks after 6, 8, 10, 12, 14, 16 report seeds: an arm that is decided takes no more, and no more sea" in out


def test_means_of_searches_are_what_is_independent():
    records = played_out()
    errors = errors_of((record.cell, record.outcome) for record in records)
    differences = [errors["ds"][p] - errors["baseline"][p] for p in range(16)]
    means = [fmean(differences[p : p + 2]) for p in range(0, 16, 2)]
    assert compared(STUDY, errors, "ds", 16) == seen(means, shares(STUDY, range(16)))
