"""The table of every test set, from numbers that are known."""

import pytest
from made_up import made_up

from dks_study.analysis.collect import collect
from dks_study.analysis.report.prose import protocol
from dks_study.analysis.tables.comparisons import LAST, comparisons
from dks_study.analysis.tables.further import further_grid, further_table
from dks_study.analysis.tables.grid import markdown
from dks_study.study.results import Results


def shifted(worse=7.0):
    """Return a study with a second test set, on which every arm but the baseline is `worse` points worse."""
    made = made_up(searches=0, noise=0, data={"name": "digits", "label_noise": 0.4, "tests": {"blur": "x"}})
    away = worse * (made.trials["arm"] != "baseline")
    return Results(made.study, made.trials.assign(**{"test_blur/top1/main": made.trials[LAST] - away}), made.epochs)


def test_every_test_set_has_its_errors_and_differences():
    frame = further_table(shifted()).set_index(["test", "arm"])
    assert list(frame.index) == [(test, arm) for test in ("test", "blur") for arm in ("baseline", "ds", "dense")]
    assert frame.loc[("test", "dense"), "difference"] == pytest.approx(-8)
    assert frame.loc[("blur", "dense"), "difference"] == pytest.approx(-1)
    assert frame.loc[("blur", "ds"), "difference"] == pytest.approx(5)
    assert frame.loc[("blur", "baseline"), "mean"] == pytest.approx(22.5)
    assert frame["base"].isna().tolist() == [True, False, False] * 2
    grid = further_grid(shifted())
    assert grid.breaks == (3,)
    assert "| blur       | ds       | 6   | 27.50 ± 1.87     | baseline  | +5.00 ± 0.00" in markdown(grid)


def test_a_study_with_one_test_set_has_no_such_table_and_the_same_numbers():
    plain = made_up(searches=0, noise=0)
    assert not len(further_table(plain))
    assert not further_grid(plain).rows
    assert comparisons(shifted()).equals(comparisons(plain))


def test_the_protocol_names_them():
    *_, text = protocol(shifted().study)
    assert "Looked at then, too, with the weights of the last epoch: blur (x)." in text
    assert "Looked at then" not in " ".join(protocol(made_up(searches=0).study))


def test_further_test_sets_are_no_part_of_a_recipe():
    trials = collect([shifted(), made_up(searches=0, noise=0)]).trials
    recipes = trials[[name for name in trials if name.startswith("recipe/")]]
    assert len(recipes.drop_duplicates()) == 1
