"""Which arms of a study are controls of which: told by what they train, whatever they are called."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dks_study.spec.pairing import pairing_matrix
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.trial import RunSpec

_SIGNAL = ("teacher_signal", "keep_gradient_size")
_SYNERGY = (
    *_SIGNAL,
    *("pairing", "synergy_weight", "top_down_weight", "bottom_up_weight", "pair_reduction", "pair_dropout"),
    *("synergy_warmup", "detach_teacher", "temperature", "temperature_squared", "smoothing"),
)
_KIND = ("name", "weights", "uniform_batch_norm")  # of a backbone, all but its size
_BRANCHES = (*_SYNERGY, "branch_weight", "branch_weight_by_tap", "branch_schedule", "branch_threshold")


@dataclass(frozen=True)
class Controls:
    """An arm whose branches teach, and the arms that its gain can be split by.

    Attributes:
        method: branches teach by a pairing (DKS, or another).
        baseline: the same without branches.
        ds: the same branches, which do not teach.
        placebos: the same branches and pairs, which teach what is left when knowledge is destroyed.
        resized: the baseline with backbones of the same family and another size; how large they are, their trials tell.
        matched: the baseline, trained as long as `method` costs, or takes.
    """

    method: str
    baseline: str
    ds: str
    placebos: tuple[str, ...]
    resized: tuple[str, ...]
    matched: tuple[str, ...]


def controls(study: StudySpec) -> tuple[Controls, ...]:
    """Return each method of `study` that has a baseline, deep supervision and a placebo, in the order of the arms."""
    runs = {arm: arm_run(study, arm, {}) for arm in study.arms}
    found = (_controls_of(method, runs, study) for method in runs if method not in study.matches)
    return tuple(each for each in found if each)


def _controls_of(method: str, runs: Mapping[str, RunSpec], study: StudySpec) -> Controls | None:
    run, alike = runs[method], {arm: each for arm, each in runs.items() if arm not in study.matches}
    if not run.branches.taps or not _teaches(run) or run.loss.teacher_signal != "knowledge":
        return None
    silent = {arm: each for arm, each in runs.items() if not _teaches(each)}
    supervised = [arm for arm, each in silent.items() if _rest(each, _SYNERGY) == _rest(run, _SYNERGY)]
    plain = [arm for arm, each in silent.items() if not each.branches.taps and _bare(each) == _bare(run)]
    ds, baseline = (_first(arm for arm in arms if arm in alike) for arms in (supervised, plain))
    placebos = tuple(
        arm
        for arm, each in alike.items()
        if each.loss.teacher_signal != "knowledge" and _rest(each, _SIGNAL) == _rest(run, _SIGNAL)
    )
    if ds is None or baseline is None or not placebos:
        return None
    matched = tuple(arm for arm in plain if arm in study.matches and study.matches[arm].match == method)
    same = runs[baseline]
    resized = tuple(arm for arm, each in silent.items() if arm in alike and _is_resized(each, same))
    return Controls(method, baseline, ds, placebos, resized, matched)


def _teaches(run: RunSpec) -> bool:
    pairs = pairing_matrix(run.loss.pairing, run.classifiers)
    return run.loss.synergy_weight > 0 and any(map(any, pairs))


def _rest(run: RunSpec, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return everything about a run but these keys of its loss."""
    return run.model_dump(mode="json", exclude={"loss": set(keys)})


def _bare(run: RunSpec) -> dict[str, Any]:
    """Return everything about a run but its branches, and what is in its loss because of them."""
    return run.model_dump(mode="json", exclude={"branches": True, "loss": set(_BRANCHES)})


def _is_resized(run: RunSpec, baseline: RunSpec) -> bool:
    """Does a run without branches differ from the baseline in the size of its backbone alone?"""
    one, other = ({**_bare(each), "branches": each.branches.taps} for each in (run, baseline))
    sizes = one.pop("backbone"), other.pop("backbone")
    kinds = [{key: each.get(key) for key in _KIND} for each in sizes]
    return one == other and kinds[0] == kinds[1] and sizes[0] != sizes[1]


def _first(arms: Iterable[str]) -> str | None:
    return next(iter(arms), None)
