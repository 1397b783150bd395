"""How long a trial may train at a stretch: read with its unit, and part of no hash."""

import pytest
from studies import small_study

from dks_study.spec.files import changed_study, load_study
from dks_study.spec.study import arm_trial
from dks_study.spec.yamldoc import SpecError

UNIT = "the rule is a number above 0 and below a million with its unit, such as 90s, 30m or 2h"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("2h", 7200.0), ("1.5h", 5400.0), ("0.5s", 0.5)]
)
def test_a_limit_is_read_with_its_unit(text, seconds):
    assert changed_study(small_study(), [f"trial.time_limit={text}"]).trial.time_limit_s == seconds


def test_no_limit_is_none():
    assert small_study().trial.time_limit_s is None


def test_a_limit_changes_no_number_a_study_goes_on_with_another_and_its_trials_do_not_know_it():
    plain, limited = small_study(), changed_study(small_study(), ["trial.time_limit=30m"])
    assert plain.content_hash() == limited.content_hash()
    trials = [arm_trial(study, "dense", {}, epochs=2, phase="confirm", seed=1) for study in (plain, limited)]
    assert trials[0] == trials[1]
    assert "time_limit" not in trials[1].model_dump_json()
    assert limited.model_dump(mode="json", exclude_unset=True)["trial"]["time_limit"] == "30m"  # and is kept


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trial.time_limit=30", "trial.time_limit: must be text, got 30"),
        ("trial.time_limit={}", "trial.time_limit: must be text, got {}"),
        ("trial.time_limit=[30m]", 'trial.time_limit: must be text, got ["30m"]'),
        ("trial.time_limit=0s", f'trial.time_limit: {UNIT}, got "0s"'),
        ("trial.time_limit=-3m", f'trial.time_limit: {UNIT}, got "-3m"'),
        ("trial.time_limit=30 min", f'trial.time_limit: {UNIT}, got "30 min"'),
        ("trial.time_limit=1d", f'trial.time_limit: {UNIT}, got "1d"'),
        ("trial.time_limit=1e3s", f'trial.time_limit: {UNIT}, got "1e3s"'),
        ("trial.time_limit=''", f'trial.time_limit: {UNIT}, got ""'),
        ("trial.time_limit=soon", f'trial.time_limit: {UNIT}, got "soon"'),
        ("arms.dense.time_limit=3m", "arms.dense.time_limit: must be the same in the whole study (trial.time_limit)"),
        ("search.axes.time_limit={choice: [1m, 2m]}", "search.axes.time_limit: must be the same in the whole study"),
    ],
)
def test_what_is_no_limit_is_one_line(override, message):
    with pytest.raises(SpecError) as refused:
        load_study("dense_vs_oneway", None, [override])
    assert str(refused.value).startswith(f"--set: {message}")
    assert "\n" not in str(refused.value)
