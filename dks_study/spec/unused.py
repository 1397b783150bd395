"""Keys that arms or searches are about and that do nothing there: of another optimiser, or of what is off."""

from collections.abc import Callable, Iterator, Mapping

from dks_study.spec.space import arm_space
from dks_study.spec.space_checks import Problem, settings_to_check
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.trial import RunSpec

Needs = tuple[Callable[[RunSpec], bool], str]
_SGD: Needs = (lambda run: run.optimiser.name == "sgd", "optimiser.name sgd")
_ADAMW: Needs = (lambda run: run.optimiser.name == "adamw", "optimiser.name adamw")
_MULTISTEP: Needs = (lambda run: run.optimiser.schedule == "multistep", "optimiser.schedule multistep")
_NOISE: Needs = (lambda run: run.data.label_noise > 0, "data.label_noise above 0")
# What a key needs to do anything. A recipe or a profile may hold it all the same, for what is laid over it.
NEEDS: Mapping[str, Needs] = {
    "optimiser.momentum": _SGD,
    "optimiser.betas": _ADAMW,
    "optimiser.milestones": _MULTISTEP,
    "optimiser.gamma": _MULTISTEP,
    "data.label_noise_kind": _NOISE,
    "data.label_noise_in": _NOISE,
    "data.crop_pad_mode": (lambda run: run.data.crop_pad_pixels > 0, "data.crop_pad_pixels above 0"),
    "data.rand_augment_magnitude": (
        lambda run: run.data.rand_augment_operations > 0,
        "data.rand_augment_operations above 0",
    ),
}


def unused_problems(study: StudySpec) -> Iterator[Problem]:
    """Yield keys of arms, and axes, that change nothing whatever is searched beside them."""
    for arm, own in study.arms.items():
        for key in own.keys() & NEEDS.keys():
            if not _does(study, arm, key):
                yield ("arms", arm, key), f"needs {NEEDS[key][1]}, or does nothing, got {own[key]!r}"
    for key in study.search.axes.keys() & NEEDS.keys():
        searching = [arm for arm in study.arms if key in arm_space(study, arm).axes]
        if searching and not any(_does(study, arm, key) for arm in searching):
            yield ("search", "axes", key), f"needs {NEEDS[key][1]} in an arm that searches it ({', '.join(searching)})"


def _does(study: StudySpec, arm: str, key: str) -> bool:
    settings = ({}, *(setting for _, setting in settings_to_check(study, arm)))
    return any(NEEDS[key][0](arm_run(study, arm, setting)) for setting in settings)
