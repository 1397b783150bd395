"""What is left of a study is told from how long its own trials took, or not at all."""

import json
from dataclasses import replace

import pytest
from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.study import provenance
from dks_study.study.cell import Cell
from dks_study.study.ledger import Ledger, Outcome, Record
from dks_study.watch.estimate import LATEST, Estimate, earlier_pace, own_seconds, with_trial

DENSE, BASELINE = ("dense", "confirm"), ("baseline", "confirm")


def cell(arm="dense", phase="confirm", index=0, epochs=10):
    return Cell(arm, phase, index, index, epochs, {})


def took(seconds, status="complete"):
    return Outcome(status, {ACCURACY: 90.0}, seconds=seconds)


def learned(*trials, at_once=1, earlier=None):
    estimate = Estimate(earlier)
    estimate.started(at_once)
    for each, seconds in trials:
        estimate.settled(each, took(seconds))
    return estimate


def test_the_rest_takes_as_long_as_trials_of_its_arm_and_phase_took():
    estimate = learned((cell(), 20.0), (cell("baseline"), 5.0), (cell(phase="search", epochs=5), 7.5))
    assert estimate.seconds_left({DENSE: 30, BASELINE: 20}, []) == pytest.approx(30 * 2.0 + 20 * 0.5)
    assert estimate.seconds_left({("dense", "search"): 10}, []) == pytest.approx(10 * 1.5)
    assert estimate.seconds_left({}, [(DENSE, 4)]) == pytest.approx(8.0), "of a running one what is still to come"
    assert estimate.seconds_left({DENSE: 0}, []) == 0


def test_trials_that_run_at_a_time_share_the_rest_but_no_trial_is_shared():
    estimate = learned((cell(), 20.0), at_once=4)
    assert estimate.seconds_left({DENSE: 100}, []) == pytest.approx(50.0)
    assert estimate.seconds_left({}, [(DENSE, 9), (DENSE, 1)]) == pytest.approx(18.0)
    for _ in range(LATEST):
        estimate.started(2)  # the cluster has become smaller
    assert estimate.seconds_left({DENSE: 100}, []) == pytest.approx(100.0)


def test_while_nothing_is_known_of_an_arm_nothing_is_said():
    assert Estimate().seconds_left({DENSE: 10}, []) is None
    estimate = learned((cell(), 20.0))
    assert estimate.seconds_left({DENSE: 10, BASELINE: 10}, []) is None
    assert estimate.seconds_left({DENSE: 10}, [(BASELINE, 1)]) is None
    assert estimate.seconds_left({DENSE: 10, BASELINE: 0}, []) is not None, "nothing of that arm is left"
    estimate.settled(cell("baseline", "search", epochs=1), took(1.5))
    assert estimate.seconds_left({BASELINE: 10}, []) == pytest.approx(15.0), "its other phase is better than nothing"


def test_a_trial_without_a_result_or_not_seen_whole_teaches_nothing():
    for outcome in (took(None), took(99.0, "failed"), took(99.0, "diverged"), took(99.0, "out_of_memory")):
        assert with_trial({}, cell(), outcome) == {}
    assert with_trial({}, cell(), took(5.0, "stopped")) == {DENSE: (0.5,)}


def test_the_latest_trials_count():
    estimate = learned(*[(cell(index=n), 10.0) for n in range(50)], *[(cell(index=n), 40.0) for n in range(LATEST)])
    assert estimate.seconds_left({DENSE: 10}, []) == pytest.approx(40.0)


def test_epochs_of_a_long_trial_tell_before_it_has_ended_and_the_first_one_does_not():
    estimate = learned()
    estimate.epoch(cell(), 1, 1000.0)  # however long it took
    assert estimate.seconds_left({DENSE: 10}, []) is None
    for epoch in (2, 3):
        estimate.epoch(cell(), epoch, 1000.0 + 60 * (epoch - 1))
    assert estimate.seconds_left({DENSE: 10}, [(DENSE, 7)]) == pytest.approx(17 * 60.0)
    estimate.settled(cell(), took(10 * 70.0))
    assert estimate.seconds_left({DENSE: 10}, []) == pytest.approx(700.0), "what whole trials took is better"


def test_earlier_studies_tell_how_arms_differ_and_this_one_how_fast_it_runs():
    earlier = {BASELINE: (0.5,), DENSE: (1.0, 3.0), ("dense", "search"): (2.0,)}
    estimate = learned(earlier=earlier)
    assert estimate.seconds_left({BASELINE: 10}, []) is None, "the machine may have been busier, or less busy"
    estimate.settled(cell(), took(60.0))  # three times as long as then
    assert estimate.seconds_left({BASELINE: 10, DENSE: 10}, []) == pytest.approx(15.0 + 60.0)
    assert estimate.seconds_left({("ds", "confirm"): 1}, []) is None, "nobody knows"
    estimate = learned(earlier=earlier)
    for epoch in (1, 2):
        estimate.epoch(cell(), epoch, 100.0 + epoch)
    assert estimate.seconds_left({BASELINE: 10}, []) == pytest.approx(0.25 * 10), "half as long, told by one epoch"


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([0.0, 9.0, 10.0, 11.0, 11.5], 3.5),  # 8 s of the first epoch were a process that started
        ([0.0, 1.0, 2.0, 3.0, 3.5], 3.5),
        ([0.0, 9.0, 9.5], None),  # one epoch: who knows what it waited for
        ([0.0, 0.5], None),
    ],
)
def test_a_trial_s_own_time_is_without_the_start_of_a_process_that_others_use_too(times, seconds):
    assert own_seconds(times) == seconds


@pytest.fixture
def results(tmp_path):
    """A results folder with a study of two arms, each of which took 1 s an epoch."""
    write(tmp_path / "small-1", small_study(arms=("baseline", "dense")), 1.0)
    return tmp_path


def write(folder, study, pace_s, cpu=None):
    folder.mkdir()
    session = provenance.new_session(0)
    session = replace(session, hardware={**session.hardware, "cpu": cpu or session.hardware["cpu"]})
    provenance.write_provenance(folder, study, [], session)
    for arm in study.arms:
        record = Record(cell(arm, epochs=2), took(2 * pace_s), "hash", provenance.now())
        Ledger(folder / "ledger.jsonl").append(record)


def test_the_pace_of_earlier_studies_is_that_of_the_same_arms_on_such_a_machine(results):
    longer = small_study(arms=("baseline", "dense", "ds"), epochs=7)
    assert earlier_pace(longer, results / "small-2") == {BASELINE: (1.0,), DENSE: (1.0,)}
    changed = longer.model_copy(update={"arms": {**longer.arms, "dense": {"optimiser.lr": 0.05}}})
    assert earlier_pace(changed, results / "small-2") == {BASELINE: (1.0,)}
    other = longer.model_copy(update={"trial": longer.trial.model_copy(update={"epochs": 5})})
    assert earlier_pace(other, results / "small-2") == {BASELINE: (1.0,), DENSE: (1.0,)}
    data = longer.trial.data.model_copy(update={"label_noise": 0.2})
    other = longer.model_copy(update={"trial": longer.trial.model_copy(update={"data": data})})
    assert earlier_pace(other, results / "small-2") == {}
    assert earlier_pace(longer, results / "small-1") == {}, "its own is not an earlier one"
    assert earlier_pace(longer, results.parent / "nowhere" / "small-1") == {}


def test_another_machine_tells_nothing_and_neither_does_a_damaged_study(results):
    study = small_study(arms=("baseline", "dense"))
    write(results / "small-2", study, 9.0, cpu="a faster one")
    (results / "small-3").mkdir()
    (results / "small-3" / "ledger.jsonl").write_text("{}\n{}\n")
    write(results / "small-4", study, 9.0)
    (results / "small-4" / "ledger.jsonl").write_text("damaged\n")
    write(results / "small-5", study, 9.0)
    (results / "small-5" / "provenance.json").write_text(json.dumps({"study": 1, "sessions": []}))
    assert earlier_pace(study, results / "small-6") == {BASELINE: (1.0,), DENSE: (1.0,)}
