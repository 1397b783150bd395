"""What a study's description comes to, in the words of its plan, its tables and its report."""

import json
from collections import defaultdict

from dks_study.spec.branches import auto_recipes
from dks_study.spec.dotted import left_out
from dks_study.spec.pairing import MAIN
from dks_study.spec.search import LENGTH
from dks_study.spec.study import StudySpec, arm_run


def auto_recipes_by_arm(study: StudySpec) -> dict[str, list[str]]:
    """Return what `branches.recipe: auto` comes to (`paper at stage1, stage2`), and the arms in which it does."""
    found: dict[str, list[str]] = {}
    for arm in study.arms:
        run = arm_run(study, arm, {})
        text = auto_recipes(run.backbone, run.branches)
        if text and "branches.recipe" not in study.axes_of(arm):
            found.setdefault(text, []).append(arm)
    return found


def matches_in_words(study: StudySpec) -> list[str]:
    """Return a line for each arm that trains as long as another one costs."""
    epochs, searched = study.trial.epochs, LENGTH in study.search.axes and study.search.trials != 0
    alike = "; lengths that it searches are stretched alike" if searched else ""
    return [
        f"{arm}: {match.epochs(epochs)} epochs cost what {epochs} epochs of {match.match} do"
        f" ({match.in_words}, x {match.times:.3g}, rounded up){alike}"
        for arm, match in study.matches.items()
    ]


def wrong_labels(study: StudySpec) -> str:
    """Return how many labels every arm has wrong; "": none, or arms differ, whose keys say it."""
    said = {arm_run(study, arm, {}).data.wrong_labels for arm in study.arms}
    return said.pop() if len(said) == 1 else ""


def sections_in_words(study: StudySpec) -> list[str]:
    """Return a line for each section that an arm writes whole, and that leaves out what the study has written there."""
    found = {
        (arm, key): left_out(study.written, key, value)
        for arm, settings in study.arms.items()
        for key, value in settings.items()
        if isinstance(value, dict)
    }
    return [
        f"{arm}: {key} is written whole, and leaves out the study's {', '.join(gone)}"
        for (arm, key), gone in found.items()
        if gone
    ]


def same_arms(study: StudySpec) -> list[list[str]]:
    """Return the arms that are one training as written, by groups; a pairing of `main` alone is none."""
    alike = defaultdict[str, list[str]](list)
    for arm in study.arms:
        run = arm_run(study, arm, {})
        values = run.model_dump(mode="json")
        if run.classifiers == (MAIN,):
            del values["loss"]["pairing"], values["branches"]
        alike[json.dumps([values, study.arms[arm].get(LENGTH)], sort_keys=True)].append(arm)
    return [arms for arms in alike.values() if len(arms) > 1]
