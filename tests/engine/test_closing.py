"""What there is time for: a report seed with all its trials, or nothing of it."""

import random

import pytest
from played import outcome_of, suggest
from studies import small_study
from whole_studies import finish, write_study
from whole_studies import records as records_of

from dks_study.engine.closing import Closing, missing
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome, Record
from dks_study.study.planner import Planner, Step


def of(arm, seed=0, phase="confirm"):
    return Cell(arm, phase, seed, seed, 2, {})


def ended(cell, seconds, status="complete"):
    return Record(cell, Outcome(status, {}, seconds=seconds), "hash", "now")


@pytest.mark.parametrize(
    ("slots", "since", "at_s", "has_time"),
    [
        (1, [], 130.1, True),  # baseline 10 s, dense 20 s, after one another from 100 on
        (1, [], 130.0, False),
        (2, [], 120.1, True),  # beside one another: the longer one
        (2, [], 120.0, False),
        (1, [4.0], 146.1, True),  # dense runs and has 16 s left
        (1, [4.0], 146.0, False),
        (1, [99.0], 130.1, True),  # it is late, and may end at any time
        (0, [], 130.1, True),  # no node by now
    ],
)
def test_a_seed_takes_what_its_arms_trials_took(slots, since, at_s, has_time):
    closing = Closing(at_s, [ended(of("baseline"), 10.0), ended(of("dense"), 20.0), ended(of("dense", 1), None)])
    running = [(of("dense", 1), each) for each in since]
    assert closing.has_time([of("baseline", 2), of("dense", 2)], running, slots, now_s=100.0) is has_time
    assert closing.ended is not has_time


def test_before_anything_is_known_only_a_time_that_has_passed_ends_a_study():
    assert Closing(100.0).has_time([of("dense")], [], 1, now_s=99.9)
    assert not Closing(100.0).has_time([of("dense")], [], 1, now_s=100.0)


def test_an_arm_that_is_new_takes_what_the_others_take_and_lost_trials_tell_nothing():
    closing = Closing(110.1, [ended(of("baseline"), 500.0, "failed")])
    closing.learn(of("dense"), Outcome("complete", {}), 10.0)
    assert closing.has_time([of("baseline", 1)], [], 1, now_s=100.0)
    assert not closing.has_time([of("baseline", 1)], [], 1, now_s=100.2)


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize("begun", range(0, 40, 3))
def test_whenever_time_is_up_every_arm_has_the_same_seeds_and_the_same_plan_goes_on(begun, repeats):
    arms = ("baseline", "ds", "dense")
    study = small_study(trials=2, parallel=2, arms=arms, report_seeds=(0, 1, 2, 3))
    study = study.model_copy(update={"search": study.search.model_copy(update={"repeats": repeats})})
    order, running, records = random.Random(begun), [], []
    planner, asked = Planner(study, suggest), 0

    def may_begin(cells):
        nonlocal asked
        asked += 1
        return asked <= begun

    while (step := planner.next(may_begin) if len(running) < 3 else Step.WAIT) is not Step.DONE:
        if isinstance(step, Cell):
            running.append(step)
            continue
        assert running, "WAIT with nothing running would wait for ever"
        cell = running.pop(order.randrange(len(running)))
        planner.settle(cell.id, outcome_of(cell))
        records.append(Record(cell, outcome_of(cell), "hash", "now"))
    seeds = [{each.cell.seed for each in records if each.cell.phase == "confirm" and each.cell.arm == a} for a in arms]
    assert seeds[0] == seeds[1] == seeds[2]
    whole = Planner(study, suggest, records)
    after = whole.next()
    if after is Step.DONE:
        assert seeds[0] == {0, 1, 2, 3}
    else:
        assert f"{len(seeds[0])} of 4 report seeds are done; missing: at most " in missing(study, records)


def test_what_is_missing_is_counted():
    study = small_study(trials=2, arms=("baseline", "dense"))
    records = [ended(of("baseline", i, "search"), 1.0) for i in range(2)]
    assert missing(study, records) == (
        "0 of 2 report seeds are done; missing: at most 2 search trials, 8 confirmation trials."
    )


@pytest.mark.slow
def test_a_study_that_ends_by_the_clock_has_equal_arms_says_what_is_missing_and_goes_on(tmp_path):
    space, seeds = write_study(tmp_path), f"report_seeds={list(range(24))}"  # more than 18 s of training
    sets = ("search.trials=0", "trial.epochs=12", seeds)
    told = tmp_path / "told"
    ends = ("--hours", "0.005", "--notify", f"echo $DKS_MESSAGE > {told}")  # 18 s
    folder, out, _ = finish(space, tmp_path / "results", *sets, code=4, options=ends)
    done = [{r.cell.seed for r in records_of(folder) if r.cell.arm == arm} for arm in ("baseline", "dense")]
    assert done[0] == done[1] != set(range(24))
    assert f"Ended by the clock: {len(done[0])} of 24 report seeds are done; missing: at most " in out
    assert "Not finished: no trial yet with the report seeds" in (folder / "table.md").read_text()
    assert "(exit status 4, after 0 h 0" in told.read_text()
    finish(space, tmp_path / "results", *sets)
    assert "Not finished" not in (folder / "table.md").read_text()
