"""How long an arm trains that matches another one's cost, before anything else looks: counted on the arms' networks, or
read from an earlier study.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dks_study.spec.base import MOST_EPOCHS, Problem, hash_of
from dks_study.spec.matching import MatchSpec
from dks_study.spec.study import StudySpec, arm_run

if TYPE_CHECKING:
    from dks_study.study.results import Results


class MatchError(Problem, ValueError):
    """It is not known how long an arm trains, or it is longer than any may; the message is one line."""


def matched(study: StudySpec) -> StudySpec:
    """Return `study` with what an epoch costs filled in, for its arms that match others.

    Multiply-accumulates are counted anew; only for them are the data loaded and networks built, without memory. Seconds
    that stand there stay, wherever the study goes on. Where there are none, they are read from the study that
    `measured` names, of which both arms have finished: however often it is read it says the same.

    Raises:
        DataError: if the data cannot be had.
        StudyError: if the network of such an arm cannot be built.
        MatchError: if there are no seconds to be read, or an arm would train longer than any may.
    """
    arms = {arm: dict(changes) for arm, changes in study.arms.items()}
    for arm, match in study.matches.items():
        arms[arm]["epochs"] = _counted(study, arm, match) if match.by == "macs" else _timed(study, arm, match)
    if not study.matches:
        return study
    found = study.model_copy(update={"arms": arms})
    for arm, match in found.matches.items():
        if (epochs := match.epochs(found.trial.epochs)) > MOST_EPOCHS:
            rule = f"must come to at most {MOST_EPOCHS} epochs, {found.trial.epochs} of {match.match} being matched"
            raise MatchError(f"arms.{arm}.epochs: {rule}, got {epochs}")
    return found


def _counted(study: StudySpec, arm: str, match: MatchSpec) -> dict[str, Any]:
    macs = [_epoch_macs(study, each) for each in (arm, match.match)]
    return {"match": match.match, "by": match.by, "macs": macs}


def _epoch_macs(study: StudySpec, arm: str) -> int:
    """Return the multiply-accumulates of an epoch, forward: those of an image times the training images."""
    # Imported here: a plan without such arms needs no torch.
    from dks_study.training.arm_checks import hollow_network
    from dks_study.training.cost import count_cost
    from dks_study.training.data import load

    run = arm_run(study, arm, {})
    data = load(run.data)
    return count_cost(hollow_network(arm, run, data), data.image_shape).macs_train * len(data.train)


def _timed(study: StudySpec, arm: str, match: MatchSpec) -> dict[str, Any]:
    """Return the match with seconds; the name of the study that they are from stands for its folder."""
    if match.seconds is not None:
        return match.model_dump(mode="json", exclude_none=True)
    from dks_study.study.results import load_results

    assert match.measured is not None
    key = f"arms.{arm}.epochs.measured"
    try:
        earlier = load_results(Path(match.measured))
    except Problem as error:
        raise MatchError(f"{key}: {error}") from error
    seconds = [_epoch_seconds(study, each, earlier, key, match.measured) for each in (arm, match.match)]
    name = f"{earlier.study.name}-{earlier.study.content_hash()}"
    return {"match": match.match, "by": match.by, "measured": name, "seconds": seconds}


def _epoch_seconds(study: StudySpec, arm: str, earlier: "Results", key: str, got: str) -> float:
    """Return the median time of a training epoch of an arm as it is written, as the table of costs of `earlier` has it:
    a trial's first epoch left out.

    Raises:
        MatchError: if no arm there trains like that, or its confirmations have not all ended well.
    """
    name = next((each for each in earlier.study.arms if _kind(earlier.study, each) == _kind(study, arm)), None)
    if name is None:
        there = ", ".join(earlier.study.arms)
        rule = f"must be of a study that trains {arm} as it is written here, but for its epochs (it has {there})"
        raise MatchError(f"{key}: {rule}, got {got!r}")
    trial_of = _confirmed(earlier, name)
    if missing := [seed for seed in earlier.study.report_seeds if seed not in trial_of]:
        rule = f"must be of a study that has confirmed {name} as written with all its seeds"
        raise MatchError(f"{key}: {rule}, got {got!r}, which lacks {', '.join(map(str, missing))}")
    timed = earlier.epochs[earlier.epochs["trial"].isin(set(trial_of.values()))]
    warm = timed[(timed["epoch"] > 1) | (earlier.study.trial.epochs == 1)]
    return round(float(warm["time/train_s"].median()), 6)


def _confirmed(results: "Results", arm: str) -> dict[int, str]:
    """Return the complete confirmation trials of an arm as it is written, by seed."""
    trials, study = results.trials, results.study
    if not len(trials):
        return {}
    kept = (trials["arm"] == arm) & (trials["phase"] == "confirm") & (trials["status"] == "complete")
    if study.search.trials != 0 and study.axes_of(arm):
        kept &= trials["choice"] == "written" if "choice" in trials else False
    return {int(seed): str(trial) for seed, trial in zip(trials["seed"][kept], trials["trial"][kept], strict=True)}


def _kind(study: StudySpec, arm: str) -> str:
    """Return what all trainings have in common that differ from this arm's in their length alone."""
    return hash_of(arm_run(study, arm, {}).hashed(exclude={"epochs": True}))
