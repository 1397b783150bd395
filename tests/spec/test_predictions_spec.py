"""What a study keeps of its predictions and which test sets it has, in its file: bad input is one line."""

import pytest
from studies import small_study

from dks_study.spec.files import load_study
from dks_study.spec.study import arm_run
from dks_study.spec.yamldoc import SpecError

KEPT = "must be all, main or none"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("keep_predictions=some", f'keep_predictions: {KEPT}, got "some"'),
        ("keep_predictions=true", f"keep_predictions: {KEPT}, got true"),
        ("trial.keep_predictions=all", "trial.keep_predictions: unknown key"),
        ("trial.data.tests=3", "trial.data.tests: must be a section of keys, got 3"),
        ("trial.data.tests.blur=3", "trial.data.tests.blur: must be text, got 3"),
        ("trial.data.tests.blur=''", "trial.data.tests.blur: must be a folder or package.module:callable, got ''"),
        ("trial.data.tests={Bad-Name: a}", "trial.data.tests.Bad-Name: must be a name of at most 40 of"),
        ("trial.data.tests.chosen=a", "trial.data.tests.chosen: must have another name, as test_chosen is of the"),
        ("arms.ds.data.tests={x: y}", "arms.ds.data.tests: must be the same in the whole study (trial.data.tests)"),
    ],
)
def test_what_cannot_be_is_one_line(override, message):
    with pytest.raises(SpecError) as refused:
        load_study("dense_vs_oneway", None, [override])
    assert str(refused.value).startswith(f"--set: {message}")
    assert "\n" not in str(refused.value)


def test_classifiers_of_other_networks_are_not_kept():
    run = arm_run(small_study(trials=0, peers=[{}]), "dense", {})
    assert "peer1.main" in run.classifiers
    assert run.predicting("all") == ("stage1", "stage2", "main")
    assert (run.predicting("main"), run.predicting("none")) == (("main",), ())


def test_whether_predictions_are_kept_is_no_part_of_a_study():
    plain = load_study("dense_vs_oneway")
    for kept in ("all", "none"):
        assert load_study("dense_vs_oneway", None, [f"keep_predictions={kept}"]).content_hash() == plain.content_hash()
    further = load_study("dense_vs_oneway", None, ["trial.data.tests.blur=x"])
    assert further.content_hash() != plain.content_hash()
    assert "tests" not in plain.hashed()["trial"]["data"]
