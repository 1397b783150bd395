"""What a plan is, and in what two of them differ."""

import json
from dataclasses import replace

import pytest
from studies import small_study

from dks_study.spec.files import changed_study
from dks_study.study.sealing import Plan, changes, plan_of

STUDY = small_study(trials=4, epochs=3)
PLAN = plan_of(STUDY)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (PLAN, ""),
        (replace(PLAN, seeds=(*PLAN.seeds, 8, 9)), "seeds 8, 9 added"),
        (replace(PLAN, seeds=(*PLAN.seeds[1:], 8)), f"seed 8 added; seed {PLAN.seeds[0]} left out"),
        (replace(PLAN, arms={**PLAN.arms, "x": "1", "y": "2"}), "arms x, y added"),
        (replace(PLAN, arms={**PLAN.arms, "dense": "other"}), "arm dense changed"),
        (replace(PLAN, choice="other"), "another search or choice rule"),
        (replace(PLAN, comparison="other"), "other comparisons"),
        (replace(PLAN, margin=0.5), "margin 0.5 in place of none"),
    ],
)
def test_what_differs_is_said(now, told):
    assert changes(PLAN, now) == told


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("search.trials=8", "another search or choice rule"),
        ("search.seed=77", "another search or choice rule"),
        ("arms.dense.loss.temperature=2.0", "arm dense changed"),
        ("table.margin=1.0", "margin 1 in place of none"),
        ("table.title=Other", ""),
        ("question=Why?", ""),
        ("keep=none", ""),
    ],
)
def test_what_belongs_to_a_plan(override, told):
    assert changes(PLAN, plan_of(changed_study(STUDY, [override]))) == told


def test_the_choice_rule_of_a_study_that_searches_nothing_is_none():
    one, other = (changed_study(STUDY, ["search.trials=0", f"search.seed={seed}"]) for seed in (77, 78))
    assert plan_of(one) == plan_of(other)


@pytest.mark.parametrize("override", ["table.margin=0.5", "splits=2", "table.looks={first: 2}"])
def test_a_plan_is_read_as_it_was_written_and_later_keys_are_left_out_at_their_defaults(override):
    assert set(PLAN.fields) == {"seeds", "arms", "choice", "comparison", "margin"}
    assert Plan.read(json.loads(json.dumps(PLAN.fields))) == PLAN
    changed = plan_of(changed_study(small_study(trials=0, report_seeds=(0, 1, 2, 3)), [override]))
    assert Plan.read(json.loads(json.dumps(changed.fields))) == changed
