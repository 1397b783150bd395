"""The table of a study that grows until its arms are decided, and what looking holds in simulation."""

from dataclasses import replace

import looking
import numpy as np
import played
import pytest
from looking_studies import EFFECTS, searching
from looking_studies import looking as looking_study
from looking_studies import results_of as left_by

from dks_study.analysis.tables.comparisons import comparison_grid, comparisons, errors_by_seed
from dks_study.analysis.tables.study import arm_table, to_markdown
from dks_study.spec.files import changed_study
from dks_study.spec.table import LEAST_SEARCHES
from dks_study.study.deciding import undecided
from dks_study.study.sequential import seen


def results_of(folder, *overrides, stop_after=None, study=None, suggest=None, **effects):
    """Return the results of a study, by default of twelve seeds at most, that looks after 6, 8, 10 and 12."""
    study = study or looking_study(*overrides)
    return left_by(folder, study, effects=EFFECTS | effects, stop_after=stop_after, suggest=suggest)


def test_the_table_says_who_was_decided_when_and_by_which_rule(tmp_path):
    results = results_of(tmp_path)
    text, rows = to_markdown(arm_table(results)), comparisons(results).set_index("arm")
    assert "At most 12 report seeds, 2 epochs" in text
    assert "Grown until decided: 4 looks, after 6, 8, 10, 12 of at most 12 report seeds. Decided: dense better" in text
    assert "dense better after 6. Undecided at the maximum: ds." in text
    assert "by t with bounds that hold at all looks together (Lan and DeMets 1983" in text
    assert "sign-flip" not in text
    assert "Left out: nothing." in text
    assert rows["verdict"].to_dict() == {"ds": "undecided", "dense": "better"}
    assert rows["n"].to_dict() == {"ds": 12, "dense": 6}
    assert rows.loc["dense", "shares"] == (0.5,)


def test_its_intervals_are_wider_than_those_that_allow_for_no_look(tmp_path):
    results = results_of(tmp_path)
    fixed = replace(results, study=changed_study(results.study, ["table.looks=null"]))
    looked, once = (comparisons(each).set_index("arm") for each in (results, fixed))
    widths = [(frame["high"] - frame["low"]) for frame in (looked, once)]
    assert (widths[0] > widths[1]).all()
    assert looked.loc["dense", "p"] > 0.005 > looked.loc["dense", "p"] / 10
    assert "Student's t with group-sequential bounds" in comparison_grid(results).notes[0]


def test_with_a_margin_equivalent_is_a_decision(tmp_path):
    results = results_of(tmp_path, "table.margin=3.0")
    text = to_markdown(arm_table(results))
    assert "Decided: ds equivalent after 8, dense better after 6." in text
    assert "a difference of 3 points or more, either way, is ruled out" in text
    assert comparisons(results).set_index("arm").loc["ds", "p_equivalence_holm"] < 0.05


def test_a_study_that_is_not_over_says_what_is_open(tmp_path):
    text = to_markdown(arm_table(results_of(tmp_path, stop_after=20)))
    assert "Undecided so far: ds." in text
    assert "Not finished: no trial yet with the report seeds 7, 8, 9, 10, 11; the study can go on." in text


def test_where_searches_are_repeated_their_means_are_told_from_nothing(tmp_path):
    results = results_of(tmp_path, study=searching(), suggest=played.suggest, ds=0.9)
    text, rows = to_markdown(arm_table(results)), comparisons(results)
    tuned = rows[rows["choice"] == "tuned"].set_index("arm")
    assert "of the procedure (other searches, other seeds) on the means of the searches, by t with bounds that" in text
    assert "of at most 16 report seeds. Decided: dense better after" in text
    assert set(tuned["estimand"]) == {"procedure"}
    errors = errors_by_seed(results)
    means = (errors["ds"] - errors["baseline"]).to_numpy().reshape(8, 2).mean(axis=1)
    found = seen(means.tolist(), tuned.loc["ds", "shares"])
    assert tuned.loc["ds", "shares"] == pytest.approx([n / 8 for n in range(3, 9)])
    assert tuned.loc["ds", ["p", "low", "high", "freedom"]].tolist() == pytest.approx([found.p, *found.ends, 7])
    stop = tuned.loc["dense", "n"]
    assert stop % 2 == 0
    assert tuned.loc["dense", "shares"] == pytest.approx([n / 8 for n in range(3, stop // 2 + 1)])
    assert set(rows["searches"]) == {1, 8, stop // 2}, "nothing was chosen as written"


RULE = looking.CANDIDATES["O'Brien-Fleming"]


def test_the_simulated_rule_is_the_one_that_decides():
    """benchmarks/looking.py decides many studies at once; a study by its errors, and Holm over the arms."""
    study = looking_study(first=looking.FIRST, every=1, seeds=looking.MOST)
    differences = looking.arms_of("normal", 8, [0.9, 0.9, 0.0], np.random.default_rng(4))
    at = looking.decided_at(differences, RULE)
    assert 0 < (at > 0).sum() < at.size
    for stops, values in zip(at, differences, strict=True):
        errors = {"baseline": dict.fromkeys(range(looking.MOST), 0.0)}
        for name, (stop, each) in enumerate(zip(stops, values, strict=True)):
            errors[str(name)] = dict(enumerate(each[: stop or looking.MOST]))
        open_ = {str(name) for name, stop in enumerate(stops) if not stop}
        assert undecided(study, errors, looking.MOST) == open_


@pytest.mark.parametrize(
    ("shape", "studies"),
    [("normal", 2000), *(pytest.param(each, 20_000, marks=pytest.mark.slow) for each in ("normal", "arms"))],
)
def test_of_studies_without_an_effect_one_of_twenty_at_most_finds_one_in_twenty_looks(shape, studies):
    """Four arms that share seeds and reference; a share of 2,000 studies has a standard error of 0.005."""
    found = looking.family_error(RULE, shape, 4, studies)
    assert found <= (0.05 if studies == 20_000 else 0.06)
    assert found > 0.02, "else it would waste seeds"


@pytest.mark.parametrize("step", looking.STEPS)
def test_errors_of_few_images_tie_and_decide_nothing_by_that(step):
    """Looks from two seeds on, at which two equal differences are no rarity."""
    assert 0.02 < looking.of_steps(looking.TIES[0], step, 1, 4000) <= 0.06


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "side"), [("normal", 1), ("arms", 1), ("arms", -1)])
def test_so_it_is_with_one_arm(shape, side):
    assert looking.family_error(RULE, shape, 1, 60_000, side) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "side"), [("normal", 1), ("arms", 1), ("arms", -1)])
@pytest.mark.parametrize("arms", [1, 4])
def test_so_it_is_with_whole_searches(shape, side, arms):
    """Two levels: what is independent is a search with its seeds; looks after 3, 4, ... 8 of them."""
    assert 0.02 < looking.of_searches(looking.SEARCHES[1], arms, 20_000, shape, side) <= 0.05


def test_eight_searches_find_hardly_less_with_looks_and_fewer_are_refused():
    fixed, found, searches = looking.power_of_searches(tuple(range(3, LEAST_SEARCHES + 1)), (1.25,) * 4, 4000)
    assert 0.7 < fixed < 0.9
    assert found >= 0.85 * fixed
    assert searches < LEAST_SEARCHES
    fixed, found, _ = looking.power_of_searches((2, 3, 4), (1.25,) * 4, 4000)
    assert found < 0.85 * fixed


def test_looking_anew_with_an_ordinary_test_finds_one_in_one_of_five():
    assert looking.family_error(looking.naive, "normal", 4, 1000) > 0.17


@pytest.mark.parametrize("effects", [(0.6,), (0.7, 0, 0, 0), (0.7,) * 4])
def test_what_is_there_is_found_hardly_less_often_than_by_a_plan_without_looks(effects):
    fixed = looking.power(looking.naive, effects, 1000, looking.FIXED)[0]
    found, seeds = looking.power(RULE, effects, 1000)
    assert 0.7 < fixed < 0.9
    assert found >= 0.85 * fixed
    assert seeds < 0.95 * looking.MOST
