"""Keys that arms or searches are about must do something there."""

import pytest

from dks_study.spec.files import load_study
from dks_study.spec.unused import NEEDS
from dks_study.spec.yamldoc import SpecError

# Of the question and its profile: sgd, cosine, no wrong labels, no shifts.
OVERRIDES = ["trial.optimiser.schedule=cosine", "trial.data.label_noise=0", "trial.data.crop_pad_pixels=0"]
VALUES = {
    "optimiser.momentum": "0.5",
    "optimiser.betas": "[0.8, 0.9]",
    "optimiser.milestones": "[0.4]",
    "optimiser.gamma": "0.5",
    "data.label_noise_kind": "asymmetric",
    "data.label_noise_in": "[train, validation]",
    "data.crop_pad_mode": "zero",
    "data.rand_augment_magnitude": "5",
}
ON = {
    "optimiser.momentum": "optimiser.name: sgd",
    "optimiser.betas": "optimiser.name: adamw",
    "optimiser.milestones": "optimiser.schedule: multistep",
    "optimiser.gamma": "optimiser.schedule: multistep",
    "data.label_noise_kind": "data.label_noise: 0.2",
    "data.label_noise_in": "data.label_noise: 0.2",
    "data.crop_pad_mode": "data.crop_pad_pixels: 2",
    "data.rand_augment_magnitude": "data.rand_augment_operations: 1",
}


def loaded(*more):
    return load_study("does_it_help", None, [*OVERRIDES, "search.trials=0", *more])


@pytest.mark.parametrize("key", sorted(NEEDS))
def test_an_arm_about_what_is_off_is_refused_and_one_about_what_is_on_is_not(key):
    off = ["trial.optimiser.name=adamw"] if key == "optimiser.momentum" else []
    arm = f"arms.more={{loss.pairing: none, {key}: {VALUES[key]}"
    with pytest.raises(SpecError) as refused:
        loaded(*off, f"{arm}}}")
    assert f"arms.more.{key}: needs " in str(refused.value)
    assert ", or does nothing, got " in str(refused.value)
    loaded(*off, f"{arm}, {ON[key]}}}")


def test_an_axis_of_another_schedule_is_refused_unless_the_schedule_is_searched_too():
    gamma = "search.axes.optimiser.gamma={float: [0.1, 0.5], arms: [dks]}"
    with pytest.raises(SpecError, match=r"search\.axes\.optimiser\.gamma: needs optimiser\.schedule multistep in an "):
        load_study("does_it_help", None, [*OVERRIDES, gamma])
    schedule = "search.axes.optimiser.schedule={choice: [cosine, multistep], arms: [dks]}"
    load_study("does_it_help", None, [*OVERRIDES, gamma, schedule])


def test_what_a_profile_holds_for_another_optimiser_is_left_alone():
    assert loaded("trial.optimiser.betas=[0.8, 0.9]").trial.optimiser.betas == (0.8, 0.9)
