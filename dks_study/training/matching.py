"""How long an arm trains that matches another one's cost: counted on their networks, before anything else looks."""

from dks_study.spec.study import StudySpec, arm_run


def matched(study: StudySpec) -> StudySpec:
    """Return `study` with the multiply-accumulates of its arms that match others filled in, counted anew.

    Only where there are such arms are the data loaded and networks built, without memory.

    Raises:
        DataError: if the data cannot be had.
        StudyError: if the network of such an arm cannot be built.
    """
    matches = study.matches
    costs = {arm: _epoch_macs(study, arm) for arm in {*matches, *(each.match for each in matches.values())}}
    arms = {arm: dict(changes) for arm, changes in study.arms.items()}
    for arm, match in matches.items():
        arms[arm]["epochs"] = {"match": match.match, "by": match.by, "macs": [costs[arm], costs[match.match]]}
    return study.model_copy(update={"arms": arms}) if matches else study


def _epoch_macs(study: StudySpec, arm: str) -> int:
    """Return the multiply-accumulates of an epoch, forward: those of an image times the training images."""
    # Imported here: a plan without such arms needs no torch.
    from dks_study.training.arm_checks import hollow_network
    from dks_study.training.cost import count_cost
    from dks_study.training.data import load

    run = arm_run(study, arm, {})
    data = load(run.data)
    return count_cost(hollow_network(arm, run, data), data.image_shape).macs_train * len(data.train)
