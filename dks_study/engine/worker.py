"""The Ray Train worker around `fit`: a group of N processes (DDP) inside one Tune trial."""

import uuid
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from dks_study.engine.cluster import check_node
from dks_study.engine.limiting import limited
from dks_study.engine.meeting import Meeting
from dks_study.engine.naming import NAME
from dks_study.engine.sharing import SharedData
from dks_study.spec.trial import TrialSpec
from dks_study.study.stopping import Watch
from dks_study.study.trial import run_trial

PACKED = "packed"
CONTROLLER_FAILURES = 3  # the default, -1, waits for ever


def train_in_group(trial: TrialSpec, config: dict[str, Any], data: SharedData) -> None:
    """Train `trial` in `trial.resources.workers` processes; rank 0's reports reach the Tune trial around it.

    `config` is that of the Tune trial.

    Raises:
        Exception: what Ray Train raises when a worker fails.
    """
    resources, place = trial.resources, config["place"]
    per_worker = {"CPU": float(resources.cpus_per_worker), "GPU": resources.gpus_per_worker}
    trainer = TorchTrainer(
        _train_loop,
        # Behind a reference, as the controller unpacks what it is handed: it would import all that a worker needs.
        train_loop_config={PACKED: ray.put({**config, "data": data})},
        torch_config=Meeting(backend="nccl" if resources.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker={name: amount for name, amount in per_worker.items() if amount},
        ),
        run_config=RunConfig(
            # A known name would make Ray Train restore its own state.
            name=f"{Path(place.folder).name}-{uuid.uuid4().hex[:8]}",
            storage_path=place.scratch,
            callbacks=[TuneReportCallback(), *_naming(config[NAME])],
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=CONTROLLER_FAILURES),
        ),
    )
    trainer.fit()


def _naming(name: str) -> list[Any]:
    """Return what gives the group's actors their name, if this Ray is like the one that it was written for."""
    try:
        from dks_study.engine.group_naming import NamedGroup

        return [NamedGroup(name)]
    except (ImportError, AttributeError):
        return []  # names are for people alone


def _train_loop(packed: dict[str, Any]) -> None:
    config = ray.get(packed[PACKED])
    trial, place = TrialSpec.model_validate_json(config["trial"]), config["place"]
    check_node(place, config["code"])  # a node may have come since the study began
    config["data"].check_here()
    watch = Watch.read(config["watch"]) if config["watch"] else None
    is_first = ray.train.get_context().get_world_rank() == 0  # of a group it is enough to end one process
    limit_s = config["limit_s"] if is_first else None
    with limited(place, limit_s), place.opened(writer=is_first) as (folder, push):

        def report(metrics: dict[str, float]) -> None:
            push()
            ray.train.report(metrics)

        run_trial(
            trial, folder, ray.train.torch.get_device(), report, watch, config["data"], config["keep_predictions"]
        )
