"""The Ray Train worker around `fit`: a group of N processes (DDP) inside one Tune trial."""

import uuid
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from dks_study.cluster import check_node
from dks_study.sharing import SharedData
from dks_study.spec import TrialSpec
from dks_study.stopping import Watch
from dks_study.trial import run_trial

CONTROLLER_FAILURES = 3  # the default, -1, waits for ever


def train_in_group(trial: TrialSpec, folder: Path, watch: dict[str, Any] | None, data: SharedData, code: str) -> None:
    """Train `trial` in `trial.resources.workers` processes; rank 0's reports reach the Tune trial around it.

    `watch` holds the fields of a Watch, `code` is the hash of what every process must run.

    Raises:
        Exception: what Ray Train raises when a worker fails.
    """
    resources = trial.resources
    config = {"trial": trial.model_dump_json(), "folder": str(folder), "watch": watch, "data": data, "code": code}
    per_worker = {"CPU": float(resources.cpus_per_worker), "GPU": resources.gpus_per_worker}
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config=config,
        torch_config=TorchConfig(backend="nccl" if resources.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker={name: amount for name, amount in per_worker.items() if amount},
        ),
        run_config=RunConfig(
            name=f"{folder.name}-{uuid.uuid4().hex[:8]}",  # a known name would make Ray Train restore its own state
            storage_path=str(folder.parent.parent / ".tune"),
            callbacks=[TuneReportCallback()],
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=CONTROLLER_FAILURES),
        ),
    )
    trainer.fit()


def _train_loop(config: dict[str, Any]) -> None:
    trial, folder = TrialSpec.model_validate_json(config["trial"]), Path(config["folder"])
    check_node(folder.parent.parent, config["code"])  # a node may have come since the study began
    watch = Watch.read(config["watch"]) if config["watch"] else None
    run_trial(trial, folder, ray.train.torch.get_device(), ray.train.report, watch, config["data"])
