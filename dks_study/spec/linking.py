"""Networks beside the study's own that teach nobody and are taught by nobody: they would cost time for nothing."""

from collections.abc import Iterator

from dks_study.spec.pairing import TEACHER, network_of, pairing_matrix, parse_pair
from dks_study.spec.space_checks import Problem, settings_to_check
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.terms import pairs_of
from dks_study.spec.trial import RunSpec


def idle_problems(study: StudySpec) -> Iterator[Problem]:
    """Yield a teacher or a peer that is joined with another network in no arm, whatever is searched there."""
    runs = {arm: arm_run(study, arm, {}) for arm in study.arms}
    alone = {name: arm for arm, run in runs.items() for name in _beside(run)}
    for run in runs.values():
        alone = {name: arm for name, arm in alone.items() if name not in _joined(run)}
    for arm in runs if alone else ():
        for _, setting in settings_to_check(study, arm):
            run = arm_run(study, arm, setting)
            alone = {name: arm for name, arm in alone.items() if name not in _joined(run)}
    for name, arm in alone.items():
        key = ("trial",) if name in _beside(study.trial) else ("arms", arm)
        if name == TEACHER:
            yield (*key, "teacher"), "must teach in some arm, in loss.pairing or loss.terms (teacher>main), got nobody"
        else:
            rule = f"must teach or be taught in some arm, in loss.pairing (cross) or loss.terms ({name}.main>main)"
            yield (*key, "peers"), f"{rule}, got nobody whom {name} does"


def _beside(run: RunSpec) -> list[str]:
    return [*([TEACHER] if run.teacher else []), *(f"peer{number}" for number in range(1, len(run.peers) + 1))]


def _joined(run: RunSpec) -> set[str]:
    """Return the networks of which one teaches another one, or is taught by it."""
    names, weights = run.classifiers, pairing_matrix(run.loss.pairing, run.classifiers)
    pairs = [
        (teacher, student)
        for teacher, row in zip(names, weights, strict=True)
        for student, weight in zip(names, row, strict=True)
        if weight
    ]
    pairs += [parse_pair(pair) for term in run.loss.terms.values() for pair in pairs_of(term, names)]
    networks = [{network_of(teacher), network_of(student)} for teacher, student in pairs]
    return {name for both in networks if len(both) > 1 for name in both}
