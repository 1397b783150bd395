"""Placebos in a study's file: what is no placebo is refused in one line."""

import pytest

from dks_study.spec.files import load_study
from dks_study.spec.study import arm_run
from dks_study.spec.yamldoc import SpecError


def with_arm(**loss):
    changes = {f"loss.{key}": value for key, value in {"pairing": "dense", **loss}.items()}
    text = ", ".join(f"{key}: {str(value).lower()}" for key, value in changes.items())
    return load_study("dense_vs_oneway", None, [f"arms.placebo={{{text}}}"])


def test_an_arm_may_be_a_placebo_and_a_search_may_choose_one():
    run = arm_run(with_arm(teacher_signal="uniform", keep_gradient_size=True), "placebo", {})
    assert (run.loss.teacher_signal, run.loss.keep_gradient_size, run.loss.draws) == ("uniform", True, False)
    axis = "search.axes.loss.teacher_signal={choice: [knowledge, other_images], arms: [dense]}"
    study = load_study("dense_vs_oneway", None, [axis])
    assert arm_run(study, "dense", {"loss.teacher_signal": "other_images"}).loss.draws


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        (
            {"teacher_signal": "noise"},
            "loss.teacher_signal: must be knowledge, other_images, wrong_classes, class_means",
        ),
        ({"keep_gradient_size": "yes"}, 'loss.keep_gradient_size: must be true or false, got "yes"'),
        ({"keep_gradient_size": True}, "loss.keep_gradient_size: must be left out with teacher_signal knowledge"),
        ({"teacher_signal": "uniform", "pairing": "none"}, "loss.teacher_signal: must be left out with pairing none"),
        ({"teacher_signal": "uniform", "detach_teacher": False}, "loss.teacher_signal: must be left out with detach_"),
    ],
)
def test_what_is_no_placebo_is_refused_in_one_line(loss, line):
    with pytest.raises(SpecError) as error:
        with_arm(**loss)
    assert f"arms.placebo.{line}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("signal", "fits"), [("class_means", False), ("wrong_classes", False), ("uniform", True)])
def test_a_placebo_by_labels_needs_one_true_class(signal, fits):
    arm = f"arms.placebo={{data.mixup_alpha: 0.2, loss.teacher_signal: {signal}}}"
    if fits:
        assert arm_run(load_study("dense_vs_oneway", None, [arm]), "placebo", {}).data.mixes
        return
    with pytest.raises(
        SpecError, match=r"loss\.teacher_signal: must not need one true class \(wrong_classes, class_me"
    ):
        load_study("dense_vs_oneway", None, [arm])
