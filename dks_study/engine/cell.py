"""What a Tune trial does: trains one cell of the plan in its own process, or in the Ray Train group that it keeps."""

import gc
import traceback
from functools import cache
from typing import Any

from ray import tune

from dks_study.engine.cluster import NodeError, check_node
from dks_study.engine.group import GROUPS, Groups
from dks_study.engine.limiting import limited
from dks_study.engine.sharing import SharedData
from dks_study.spec.trial import TrialSpec
from dks_study.study.failures import causes, is_disk_full, refused_memory
from dks_study.study.ledger import ERROR, OUTCOME, Outcome
from dks_study.study.stopping import Watch
from dks_study.study.trial import run_trial
from dks_study.training.compute import give_back_memory, own_device

NO_MORE = "no_more"  # reported instead of an epoch: why the study cannot go on, which is not the trial's fault
NO_ROOM = "there is no room for checkpoints: free some or raise --disk-gib, then run the same command again"


def run_cell(config: dict[str, Any], data: SharedData) -> None:
    """Train one trial inside its Tune trial's process, or in the Ray Train group that this process keeps."""
    groups: Groups = config.pop(GROUPS)
    trial, place = TrialSpec.model_validate_json(config["trial"]), config["place"]
    if config["limit_s"] and place.has(OUTCOME):  # it was ended, and Tune does not know why
        tune.report({})
        return
    try:
        check_node(place, config["code"])
        data.check_here()
        place.delete(ERROR)  # of an earlier attempt
        if trial.resources.workers:
            for metrics in groups.train(trial.resources, config, data):
                tune.report(metrics)
        else:
            with limited(place, config["limit_s"]):
                _train_here(trial, config, data)
    except Exception as error:
        _let_go(error)
        if is_disk_full(error):
            tune.report({NO_MORE: NO_ROOM})
        elif unfit := [str(cause) for cause in causes(error) if isinstance(cause, NodeError)]:
            tune.report({NO_MORE: unfit[-1]})
        elif refusal := refused_memory(error):  # to try the same again is of no use
            place.end(Outcome("out_of_memory", {}, refusal))
            tune.report({})
        else:
            raise
    finally:
        if not trial.resources.workers:  # a process that trains itself is kept for the next trial
            give_back_memory(own_device(trial.resources))
            _keep_what_is_imported()


@cache
def _keep_what_is_imported() -> None:
    """Look through it no more for what is not needed: once in a process, as after every trial that would take 0.1 s."""
    gc.freeze()


def _let_go(error: BaseException) -> None:
    """Let an error, which others may keep, no longer hold the network that was trained where it was raised."""
    for cause in causes(error):
        held: BaseException | None = cause
        while held is not None:
            traceback.clear_frames(held.__traceback__)
            held = held.__context__


def _train_here(trial: TrialSpec, config: dict[str, Any], data: SharedData) -> None:
    place, watch = config["place"], config["watch"]
    with place.opened(writer=True) as (folder, push):

        def report(metrics: dict[str, float]) -> None:
            push()
            tune.report(metrics)

        stops = Watch.read(watch) if watch else None
        run_trial(trial, folder, own_device(trial.resources), report, stops, data, config["keep_predictions"])
