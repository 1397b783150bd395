"""How many trials a study has, before any is known. Pure."""

from collections.abc import Mapping

from dks_study.spec.space import arm_space, searched
from dks_study.spec.study import StudySpec
from dks_study.study.cell import Phase


def planned(study: StudySpec) -> Mapping[str, Mapping[Phase, int]]:
    """Return, by arm and phase, how many trials there are at most.

    There are fewer races where fewer settings completed, and fewer confirmations where the arm as written is chosen
    or a Pareto front is small.
    """
    search, seeds = study.search, len(study.report_seeds)
    members = search.confirm_at_most if len(search.objectives) > 1 else 1
    plan: dict[str, Mapping[Phase, int]] = {}
    for arm in study.arms:
        if trials := searched(study, arm):
            race = search.finalists * search.race_seeds * search.repeats
            rows = 1 + members + (len(arm_space(study, arm).axes) if arm in study.table.one_at_a_time else 0)
            plan[arm] = {"search": trials * search.repeats, "race": race, "confirm": rows * seeds}
        else:
            plan[arm] = {"search": 0, "race": 0, "confirm": seeds}
    return plan


def planned_trials(study: StudySpec) -> int:
    """Return how many trials there are at most."""
    return sum(sum(plan.values()) for plan in planned(study).values())
