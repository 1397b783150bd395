"""Conditions, ties, constraints, enumeration, arms from axes: what an arm may try, and what is refused at load."""

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import play
from studies import plain_profile

from dks_study.spec.constraints import parse_constraint
from dks_study.spec.files import changed_study, load_study
from dks_study.spec.objectives import front, spread
from dks_study.spec.space import arm_space, sampler_of, searched
from dks_study.spec.yamldoc import SpecError
from dks_study.study.cell import Cell, search_seed
from dks_study.study.ledger import Outcome
from dks_study.study.planner import Planner
from dks_study.study.search import optuna_suggest

SPACE = """question: Does it work?
profile: PROFILE
trial:
  branches: {taps: [stage1, stage2]}
arms:
  ds: {loss.pairing: none}
  dense: {loss.pairing: dense}
search:
  trials: 8
  SEARCH
table: {title: T, reference: ds}
"""
CONDITION = """axes:
    loss.pairing: {choice: [dense, none], arms: [dense]}
    loss.temperature: {float: [1, 6], when: {loss.pairing: dense}}"""
TIED = """axes:
    loss.top_down_weight: {float: [0.5, 2.0]}
    loss.bottom_up_weight: {same_as: loss.top_down_weight}"""
ORDERED = """constraints: ["loss.top_down_weight >= loss.bottom_up_weight"]
  axes:
    loss.top_down_weight: {float: [0.5, 2.0]}
    loss.bottom_up_weight: {float: [0.5, 2.0]}"""
FINITE = """axes:
    branches.recipe: {choice: [paper, linear]}
    loss.temperature: {choice: [1.0, 2.0, 4.0]}"""

GP = pytest.param("gp", marks=pytest.mark.slow)  # fits a Gaussian process for every suggestion


@pytest.fixture
def load(tmp_path):
    def loaded(search, *sets):
        path = tmp_path / "mine.yaml"
        path.write_text(SPACE.replace("SEARCH", search).replace("PROFILE", str(plain_profile(tmp_path))))
        return load_study(str(path), None, sets)

    return loaded


def tried_by(study, arm="dense"):
    records = play_real(study, random.Random(3))
    return [
        r.cell for r in sorted(records, key=lambda r: r.cell.index) if (r.cell.arm, r.cell.phase) == (arm, "search")
    ]


def play_real(study, order, slots=2, **how):
    return play(study, order, slots, suggest=optuna_suggest(study), **how)


def test_a_condition_leaves_its_axis_out_where_it_is_not_met(load):
    study = load(CONDITION)
    assert not arm_space(study, "ds").axes, "pairing is none there for good"
    assert searched(study, "ds") == 0
    cells = tried_by(study)
    assert len(cells) == 8
    assert {cell.setting["loss.pairing"] for cell in cells} == {"dense", "none"}
    for cell in cells:
        assert ("loss.temperature" in cell.setting) == (cell.setting["loss.pairing"] == "dense")


def test_a_tied_key_has_the_value_of_its_axis(load):
    for cell in tried_by(load(TIED)):
        assert cell.setting["loss.bottom_up_weight"] == cell.setting["loss.top_down_weight"]


@pytest.mark.parametrize("sampler", ["auto", "random", "qmc", "nsga2", "cmaes", GP])
def test_every_suggestion_meets_the_constraints_whatever_the_sampler(load, sampler):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    cells = tried_by(load(ORDERED, f"search.sampler={sampler}"))
    assert len({str(cell.setting) for cell in cells}) == len(cells) == 8
    for cell in cells:
        assert 2.0 >= cell.setting["loss.top_down_weight"] >= cell.setting["loss.bottom_up_weight"] >= 0.5


@pytest.mark.parametrize(("given_trials", "seeds"), [("null", 1), ("6", 1), ("8", 2)])
def test_a_finite_space_is_enumerated_the_arm_as_written_first(load, given_trials, seeds):
    study = load(FINITE, f"search.trials={given_trials}")
    assert sampler_of(study, arm_space(study, "dense")) == "grid"
    cells = tried_by(study)
    first = {str(cell.setting) for cell in cells if cell.seed == study.search.seed}
    assert len(first) == 6, "each cell once"
    assert cells[0].setting == {"branches.recipe": "paper", "loss.temperature": 1.0}
    assert len({cell.seed for cell in cells}) == seeds, "what is left over goes to another search seed"
    assert len({(str(cell.setting), cell.seed) for cell in cells}) == len(cells)
    assert not {cell.seed for cell in cells} & set(study.report_seeds)


def test_an_axis_may_offer_auto_itself(load):
    cells = tried_by(load(FINITE.replace("[paper, linear]", "[linear, auto]")))
    assert cells[0].setting == {"branches.recipe": "auto", "loss.temperature": 1.0}
    with pytest.raises(SpecError, match=r"must contain ds's own value paper: .*got \['linear', 'tail'\]"):
        load(FINITE.replace("[paper, linear]", "[linear, tail]"))


def test_fewer_trials_than_cells_are_sampled_without_repeating_any(load):
    study = load(FINITE, "search.trials=5")
    assert sampler_of(study, arm_space(study, "dense")) == "tpe"
    assert len({str(cell.setting) for cell in tried_by(study)}) == 5


def test_search_seeds_pass_over_report_seeds(load):
    study = load(FINITE, "search.seed=4", "report_seeds=[0, 1, 2, 3, 5, 6]")
    assert [search_seed(study, 0, position, 9) for position in range(3)] == [4, 7, 8]


def test_known_points_come_after_trial_zero(load):
    study = load("points: [{loss.top_down_weight: 1.5}, {loss.top_down_weight: 1.0}]\n  " + TIED)
    values = [cell.setting["loss.top_down_weight"] for cell in tried_by(study)]
    assert values[:2] == [1.0, 1.5]
    assert values[2:].count(1.0) == 0, "the second point is trial 0"


def test_axes_become_arms(load):
    study = load(
        "as_arms: [branches.recipe]\n  axes:\n    branches.recipe: {choice: [paper, linear], arms: [dense]}\n"
        "    optimiser.lr: {float: [0.01, 0.3], arms: [dense]}"
    )
    assert list(study.arms) == ["ds", "dense_recipe_paper", "dense_recipe_linear"]
    assert study.arms["dense_recipe_linear"] == {"loss.pairing": "dense", "branches.recipe": "linear"}
    assert [searched(study, arm) for arm in study.arms] == [0, 8, 8]
    assert list(arm_space(study, "dense_recipe_paper").axes) == ["optimiser.lr"]


def test_a_constraint_of_axes_that_became_arms_is_met_by_these(load):
    study = load(f'as_arms: [loss.temperature]\n  constraints: ["loss.temperature < 3"]\n  {FINITE}')
    assert list(study.arms) == [f"{arm}_temperature_{value}_0" for arm in ("ds", "dense") for value in (1, 2)]
    assert changed_study(study, ["report_seeds=[0, 1]"]).search.constraints == ("loss.temperature < 3",)


def test_the_reference_that_is_expanded_becomes_its_own_combination(load):
    study = load("as_arms: [loss.temperature]\n  axes:\n    loss.temperature: {choice: [2.0, 1.0]}")
    assert study.table.reference == "ds_temperature_1_0"


SEVERAL = "search.objectives=[val/top1/main, cost/macs_train]"
AXIS = "axes:\n    loss.temperature: {float: [1, 6]"


@pytest.mark.parametrize(
    ("search", "sets", "message"),
    [
        (AXIS + ", when: {loss.pairin: dense}}", (), "axes.loss.temperature.when: must name keys that some arm has"),
        (AXIS + ", when: {loss.temperature: 1}}", (), "axes.loss.temperature.when: must name keys with a choice"),
        (AXIS + "}\n    loss.main_weight: {same_as: loss.x}", (), "axes.loss.main_weight.same_as: must name an axis"),
        (AXIS + ", same_as: optimiser.lr}", (), "exactly one of float: [low, high], int: [low, high], choice: [...]"),
        (TIED.replace("0.5, 2.0]", "0.5, 2.0], arms: [ds]"), (), "same_as: must name an axis of the same arms, got"),
        (TIED, ("arms.ds.loss.top_down_weight=0.9",), "ds as written, both must have one value, got 1.0 and 0.9"),
        ('constraints: ["__import__(1)"]\n  ' + AXIS + "}", (), "a constraint is `key sign key` or `key sign number`"),
        ('constraints: ["loss.temperature > 3"]\n  ' + AXIS + "}", (), "must hold in search trial 0, the arm as"),
        ('constraints: ["loss.temperature > loss.pairing"]\n  ' + AXIS + "}", (), "must compare numbers, got 'loss.te"),
        ('constraints: ["loss.temperature > loss.x"]\n  ' + AXIS + "}", (), "must compare keys that every arm"),
        ('constraints: ["loss.temprature < 9"]\n  ' + AXIS + "}", (), "constraints.0: must speak of an axis that so"),
        ('constraints: ["optimiser.momentum < 1"]', (), "some arm searches (none does), got 'optimiser.momentum < 1'"),
        (AXIS + ", when: {loss.pairing: dens}}", (), "when: must be met in some arm that searches loss.temperature"),
        (AXIS + ", when: {loss.pairing: []}}", (), "that searches loss.temperature, got {'loss.pairing': []}"),
        (AXIS + ", arms: []}", (), "search.axes.loss.temperature.arms: must hold at least 1 value, got []"),
        (AXIS + "}", ("search.trials=null",), "search.trials: must be given where a space is not finite; cells"),
        (FINITE.replace("2.0, 4.0]", "2.0, 4.0], arms: [ds]"), ("search.trials=null",), "budgets): ds 6, dense 2"),
        (FINITE, ("search.sampler=grid", "search.trials=5"), "grid needs finite spaces and a trial for every cell"),
        (AXIS + "}", ("search.sampler=grid",), "search.sampler: grid needs finite spaces and a trial for every cell"),
        (AXIS + "}", ("search.sampler=cma",), "search.sampler: must be auto, tpe, gp, cmaes, qmc"),
        (AXIS + "}", ("search.points=[{loss.temperature: 9}]",), "points.0.loss.temperature: must be within its axis"),
        (AXIS + "}", ("search.points=[{loss.temperature: true}]",), "must be within its axis [1.0, 6.0], got True"),
        ("axes:\n    branches.taps: {choice: [stage1+stage2, stage2+stage1]}", (), "must list each set of taps once"),
        (AXIS + "}", ("search.points=[{loss.temprature: 2}]",), "points.0.loss.temprature: must be an axis (loss.temp"),
        (AXIS + "}", ("search.points=[{loss.temperature: 2}]", "search.trials=1"), "search.trials: must be at least 2"),
        (AXIS + "}", ("search.as_arms=[loss.temperature]",), "search.as_arms: must name axes with a choice or an int"),
        (AXIS + "}", ("search.objectives=[test/top1/main]",), "search.objectives: must be of val/top1/main, "),
        (AXIS + "}", (SEVERAL, "search.early_stopping.kind=asha"), "needs one"),
        (AXIS + "}", (SEVERAL, "search.sampler=gp"), "search.sampler: must"),
        (FINITE.replace("linear", "linearr"), (), "search.axes.branches.recipe: must be"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_work_gets_one_line(load, search, sets, message):
    with pytest.raises(SpecError) as caught:
        load(search, *sets)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_package_that_is_missing_is_named_before_anything_starts(load, monkeypatch):
    monkeypatch.setattr("dks_study.spec.space_checks.find_spec", lambda name: None if name == "cmaes" else name)
    with pytest.raises(SpecError, match=r"search\.sampler: needs the package cmaes"):
        load(TIED, "search.sampler=cmaes")


def test_conditions_in_a_circle_are_refused(load):
    with pytest.raises(SpecError, match="conditions must not go in a circle"):
        load(
            "axes:\n    branches.recipe: {choice: [paper, linear], when: {loss.pairing: dense}}\n"
            "    loss.pairing: {choice: [none, dense], when: {branches.recipe: paper}}"
        )


@pytest.mark.parametrize(
    ("text", "holds"),
    [("a.x <= b.y", True), ("b.y<a.x", False), ("a.x == 1", True), ("2.5e0 > b.y", True), ("a.x != 1.0", False)],
)
def test_a_constraint_compares(text, holds):
    assert parse_constraint(text).holds({"a.x": 1, "b.y": 2}) is holds


@given(st.text("ab.<>=! 1-()_", max_size=12))
def test_whatever_a_constraint_is_it_is_read_or_refused(text):
    with contextlib.suppress(ValueError):
        assert parse_constraint(text).keys


@settings(max_examples=12, derandomize=True)
@given(st.integers(0, 2**20), st.integers(1, 3), st.integers(0, 22), st.sampled_from([CONDITION, ORDERED, FINITE]))
def test_any_prefix_of_the_ledger_leads_to_the_same_trials(tmp_path_factory, seed, parallel, cut, search):
    folder = tmp_path_factory.mktemp("replay")
    path = folder / "mine.yaml"
    path.write_text(SPACE.replace("SEARCH", search).replace("PROFILE", str(plain_profile(folder))))
    sets = [f"search.parallel={parallel}", "search.trials=5", "report_seeds=[0, 1]", "search.early_stopping.kind=asha"]
    study = load_study(str(path), None, sets)
    whole = play_real(study, random.Random(0), 1)
    first = play_real(study, random.Random(seed), 3, stop_after=cut)
    again = play_real(study, random.Random(seed), 3, records=first)
    assert {r.cell.id: r.cell for r in again} == {r.cell.id: r.cell for r in whole}
    for arm in study.arms:
        cells = [r.cell for r in again if r.cell.arm == arm and r.cell.phase == "search"]
        assert len(cells) == searched(study, arm) in (0, 5), "equal budgets"
        assert len({(str(cell.setting), cell.seed) for cell in cells}) == len(cells), "no duplicates"
        space = arm_space(study, arm)
        assert all(space.allows(cell.setting) for cell in cells)
        assert all(space.completed(cell.setting) == cell.setting for cell in cells), "neither too much nor too little"


def test_a_front_is_what_nothing_beats():
    assert front([(1.0, 5.0), (2.0, 4.0), (2.0, 3.0), (0.0, 9.0), (2.0, 4.0)]) == [1, 0, 3]
    assert front([(3.0,), (4.0,), (4.0,)]) == [1], "of one objective: the best, the earliest among equals"
    assert front([]) == []
    assert spread([7, 8, 9], 5) == [7, 8, 9]
    assert spread(list(range(11)), 3) == [0, 5, 10]
    assert spread([4, 5, 6], 1) == [4]


def test_the_members_of_a_front_are_confirmed_as_rows_of_their_own(load):
    study = load(TIED, SEVERAL, "search.confirm_at_most=2")
    planner, confirmed = Planner(study, optuna_suggest(study)), []
    while isinstance(cell := planner.next(), Cell):
        assert planner.watch(cell) is None or planner.watch(cell).costs
        index = cell.index
        metrics = {"val/top1/main": 50.0 + index, "cost/macs_train": 100.0 + index}  # nothing beats anything
        planner.settle(cell.id, Outcome("complete", metrics))
        confirmed += [cell] if cell.phase == "confirm" else []
    rows = [row for cell in confirmed for row in cell.rows.values()]
    assert set(rows) == {"ds (as written)", "ds#1", "ds#2", "dense (as written)", "dense#1", "dense#2"}
    assert len({cell.id for cell in confirmed}) == len(confirmed) == 6 * 6
    assert sampler_of(study, arm_space(study, "ds")) == "nsga2"
