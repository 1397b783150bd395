"""What each worker of a group does: trains the trials that it is ordered to, one after another."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from ray.actor import ActorHandle

from dks_study.engine.cluster import check_node
from dks_study.engine.limiting import limited
from dks_study.engine.sharing import SharedData
from dks_study.spec.trial import TrialSpec
from dks_study.study.stopping import Watch
from dks_study.study.trial import run_trial
from dks_study.training.compute import give_back_memory

PACKED = "packed"


def train_loop(packed: dict[str, Any]) -> None:
    """Train until there is no more. An error ends the loop, and with it the group: no trial comes after it."""
    given = ray.get(packed[PACKED])
    orders, data, number = given["orders"], given["data"], 0
    while (order := ray.get(orders.take.remote(number))) is not None:
        number, config = order
        with _left_as_found(ray.train.torch.get_device()):
            _train(config, data, orders)
        ray.get(orders.done.remote())


def _train(config: dict[str, Any], data: SharedData, orders: ActorHandle) -> None:
    trial, place = TrialSpec.model_validate_json(config["trial"]), config["place"]
    check_node(place, config["code"])  # a node may have come since the study began
    data.check_here(anew=True)
    watch = Watch.read(config["watch"]) if config["watch"] else None
    is_first = ray.train.get_context().get_world_rank() == 0  # of a group it is enough to end one process
    limit_s = config["limit_s"] if is_first else None
    with limited(place, limit_s), place.opened(writer=is_first) as (folder, push):

        def report(metrics: dict[str, float]) -> None:
            push()
            if is_first:
                ray.get(orders.report.remote(metrics))

        run_trial(trial, folder, ray.train.torch.get_device(), report, watch, data, config["keep_predictions"])


@contextmanager
def _left_as_found(device: torch.device) -> Iterator[None]:
    """Let the next trial find its process as the first one did, whatever a network of one's own has changed.

    After an error nothing is put back: the process ends. What a trial sets for itself (threads, precision) the next one
    sets as well.
    """
    environment, folder, dtype = dict(os.environ), os.getcwd(), torch.get_default_dtype()
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn
    torch.use_deterministic_algorithms(strict, warn_only=warn_only)
    torch.set_default_dtype(dtype)
    os.chdir(folder)
    if environment != dict(os.environ):
        os.environ.clear()
        os.environ.update(environment)
    give_back_memory(device)
