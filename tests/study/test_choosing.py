"""Which settings are raced and which one is chosen: the arm as written yields to nothing but a clear winner."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import small_study

from dks_study.spec.study import StudySpec
from dks_study.study.choosing import Tried, chosen, finalists, ranked

WRITTEN, A, B, C = ({"optimiser.lr": rate} for rate in (0.05, 0.1, 0.15, 0.2))


def study(finalists=3, objective="val/top1/main"):
    values = small_study(trials=8).model_dump(mode="json", by_alias=True, exclude_unset=True)
    values["search"] |= {"finalists": finalists, "race_seeds": 2, "objectives": [objective]}
    return StudySpec.model_validate_json(json.dumps(values))


def search(*values):
    return [Tried(setting, value, seed=7) for setting, value in zip((WRITTEN, A, B, C), values, strict=False)]


def race(**by_name):
    settings = {"written": WRITTEN, "a": A, "b": B, "c": C}
    return [
        Tried(settings[name], value, seed=seed) for name, values in by_name.items() for seed, value in enumerate(values)
    ]


def test_the_best_are_raced_and_the_arm_as_written_always():
    assert finalists(study(), search(60.0, 80.0, 90.0, 70.0)) == [B, A, WRITTEN]
    assert finalists(study(), search(85.0, 80.0, 90.0, 70.0)) == [B, WRITTEN, A]
    assert finalists(study(), search(None, 80.0, 90.0, 70.0)) == [B, A, C], "it was lost: there is nothing to race"
    assert finalists(study(), search(80.0, 80.0, 80.0, 80.0)) == [WRITTEN, A, B], "of equals the earliest"
    assert ranked(study(), [*search(60.0, 80.0, 90.0), Tried(B, 50.0, seed=8)]) == [A, B, WRITTEN], (
        "the mean of two seeds"
    )


def test_less_is_better_where_the_objective_says_so():
    less = study(objective="val/loss/main")
    assert finalists(less, search(0.9, 0.5, 0.4, 0.8)) == [B, A, WRITTEN]
    assert chosen(less, search(0.9, 0.5, 0.4), race(written=(0.9, 0.9), a=(0.3, 0.3), b=(0.5, 0.6))) == A


def test_the_best_mean_wins_among_those_that_beat_the_arm_as_written():
    ended = race(written=(80.0, 80.0), a=(85.0, 86.0), b=(84.0, 84.5))
    assert chosen(study(), search(80.0, 84.0, 85.0), ended) == A


def test_a_lucky_setting_does_not_replace_the_arm_as_written():
    ended = race(written=(80.0, 80.0), a=(72.0, 92.0), b=(79.0, 79.0))  # a: on average 1.5 better, spread over 20
    assert chosen(study(), search(80.0, 80.5, 80.2), ended) == WRITTEN


def test_a_steady_setting_wins_over_a_better_one_that_may_be_luck():
    ended = race(written=(80.0, 80.0), a=(70.0, 95.0), b=(81.0, 81.1))
    assert chosen(study(), search(80.0, 81.0, 81.0), ended) == B


def test_who_loses_a_trial_is_out():
    ended = race(written=(80.0, 80.0), a=(90.0, None), b=(81.0, 81.0))
    assert chosen(study(), search(80.0, 90.0, 81.0), ended) == B
    ended = race(written=(None, 80.0), a=(70.0, 70.0), b=(60.0, 60.0))
    assert chosen(study(), search(80.0, 70.0, 60.0), ended) == WRITTEN, "not beaten on the seeds that it has"
    better = race(written=(None, 80.0), a=(70.0, 70.0), b=(95.0, 90.0))
    assert chosen(study(), search(80.0, 70.0, 85.0), better) == B
    diverged = [replace(each, diverged=each.value is None) for each in ended]
    assert chosen(study(), search(80.0, 70.0, 60.0), diverged) == A, "one that diverges is no arm to be beaten"
    others = race(written=(None, 80.0), a=(None, 70.0), b=(None, 60.0))
    assert chosen(study(), search(80.0, 70.0, 60.0), others) == WRITTEN
    assert chosen(study(), search(None, 70.0, 60.0, 50.0), race(a=(None, 70.0), b=(None, 60.0), c=(None, 1.0))) is None


@given(st.lists(st.floats(0, 100), min_size=9, max_size=9), st.randoms())
def test_the_order_of_the_race_does_not_matter(values, order):
    tried = search(*values[:3])
    ended = race(written=values[3:5], a=values[5:7], b=values[7:9])
    mixed = order.sample(ended, len(ended))
    assert chosen(study(), tried, ended) == chosen(study(), tried, mixed)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_the_bar_is_the_standard_error_of_the_paired_difference(gain):
    ended = race(written=(70.0, 90.0), a=(70.0 + gain, 90.0 + gain - 1))  # seeds differ by 20, pairs by 1
    expected = A if gain > 1 else WRITTEN
    assert chosen(study(finalists=2), search(80.0, 80.0 + gain), ended) == expected
