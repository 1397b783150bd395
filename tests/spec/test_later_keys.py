"""Keys that came later leave the hashes of descriptions that do not use them as they were."""

import pytest

from dks_study.spec.files import load_study
from dks_study.spec.loss import LossSpec
from dks_study.spec.space import arm_space
from dks_study.spec.study import arm_trial
from dks_study.study.identity import identity

# As they were before there was a placebo: study with the arms of then, and the trial of its last arm with 3 epochs and
# seed 1.
BEFORE = {
    "dense_vs_oneway": ("61d2a13e5f", "38d5e16c2e"),
    "against_the_family": ("59774d89a0", "38d5e16c2e"),
    "paper_cifar100": ("abf4317d78", "5d2bb8f3ca"),
}


def last(study):
    return arm_trial(study, list(study.arms)[-1], {}, epochs=3, phase="confirm", seed=1)


KD = "1664a3382b"  # the trial of the arm `kd`
NEW_ARMS = {"mean_teacher", "pskd", "one", "okddip", "at_gradient", "jacobian"}


@pytest.mark.parametrize("space", BEFORE)
def test_the_hashes_of_what_does_not_use_them_stay(space):
    study = load_study(space)
    study = study.model_copy(update={"arms": {arm: keys for arm, keys in study.arms.items() if arm not in NEW_ARMS}})
    assert (study.content_hash(), last(study).content_hash()) == BEFORE[space]
    assert not {"teacher_signal", "main_fall"} & last(study).hashed()["loss"].keys()
    assert "ensemble" not in last(study).hashed()
    if "kd" in study.arms:
        kd = arm_trial(study, "kd", {}, epochs=3, phase="confirm", seed=1)
        assert (kd.content_hash(), set(kd.hashed()["teacher"])) == (KD, {"weights", "backbone"})


def test_used_they_change_every_hash_and_stand_in_every_description():
    study = load_study("dense_vs_oneway")
    placebo = load_study("dense_vs_oneway", None, ["arms.dense.loss.teacher_signal=uniform"])
    assert placebo.content_hash() != study.content_hash()
    trials = last(study), last(placebo)
    assert trials[0].content_hash() != trials[1].content_hash()
    assert identity(trials[0], "data", {}) != identity(trials[1], "data", {})
    assert LossSpec().model_dump(mode="json")["teacher_signal"] == "knowledge"
    assert LossSpec(teacher_signal="uniform").hashed()["teacher_signal"] == "uniform"


@pytest.mark.parametrize("key", ["optimiser.branch_lr_factor", "optimiser.pretrained_lr_factor"])
def test_an_axis_over_one_begins_with_the_arm_s_own_value_though_it_is_the_default(key):
    weights = "trial.backbone={name: resnet, depth: 14, base_channels: 16, weights: teachers/digits_resnet14.pt}"
    study = load_study("dense_vs_oneway", None, [weights, f"search.axes.{key}={{float: [0.5, 2.0], arms: [dense]}}"])
    assert arm_space(study, "dense").completed({})[key] == 1.0
