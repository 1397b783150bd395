"""Groups of Ray Train workers that train one trial after another, as the process of a Tune trial sees them.

To start one takes many seconds: six processes, a placement group, a process group of PyTorch. It stays for the next
trial, and ends with a trial that fails: whatever went wrong in its processes is gone with them.
"""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dks_study.engine.meeting import Meeting
from dks_study.engine.orders import Metrics, Orders
from dks_study.engine.sharing import SharedData
from dks_study.engine.worker import PACKED, train_loop
from dks_study.spec.trial import ResourceSpec

GROUPS = "groups"  # the key of a Tune trial's config that holds its process's Groups
CONTROLLER_FAILURES = 3  # the default, -1, waits for ever
END_S = 10.0  # so long is waited for a group to end
WAITING = ("PENDING", "RESCHEDULING")  # states of placement groups


class Groups:
    """The group of one process: started for its first trial, and again after a trial that took it along."""

    def __init__(self, study: str) -> None:
        """Begin without one."""
        self._study = study
        self.title = f"{study}, one trial after another"
        self._idle: Group | None = None

    def train(self, resources: ResourceSpec, order: dict[str, Any], data: SharedData) -> Iterator[Metrics]:
        """Have a group train what `order`, the config of a Tune trial, describes; yield what rank 0 reports.

        Raises:
            Exception: what Ray Train raises when a worker fails.
        """
        group, self._idle = self._idle, None  # only a trial that ends well leaves it to the next one
        if group and (group.resources != resources or _others_wait()):
            group.end()
            group = None
        if not (group and group.takes(order)):
            group = Group(self._study, self.title, resources, order["place"].scratch, data)
            group.takes(order)
        try:
            yield from group.heard()
        except BaseException:
            group.end()
            raise
        self._idle = group

    def end(self) -> None:
        """End the group that waits for a trial."""
        if self._idle:
            self._idle.end()


class Group:
    """A run of Ray Train in a thread, whose workers take orders."""

    def __init__(self, study: str, title: str, resources: ResourceSpec, scratch: str, data: SharedData) -> None:
        """Start it; where there are no CPUs for it, it waits for them."""
        self.resources = resources
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(Orders).options(num_cpus=0, scheduling_strategy=here)
        self._orders = actor.remote(title, resources.workers)
        per_worker = {"CPU": float(resources.cpus_per_worker), "GPU": resources.gpus_per_worker}
        trainer = TorchTrainer(
            train_loop,
            # Behind a reference, as the controller unpacks what it is handed: it would import all that a worker needs.
            train_loop_config={PACKED: ray.put({"orders": self._orders, "data": data})},
            torch_config=Meeting(backend="nccl" if resources.gpus_per_worker else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=resources.workers,
                use_gpu=resources.gpus_per_worker > 0,
                resources_per_worker={name: amount for name, amount in per_worker.items() if amount},
            ),
            run_config=RunConfig(
                name=f"{study}-{uuid.uuid4().hex[:8]}",  # a known name would make Ray Train restore its own state
                storage_path=scratch,
                callbacks=_naming(title),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=CONTROLLER_FAILURES),
            ),
        )
        self._error: Exception | None = None
        self._thread = Thread(target=self._run, args=[trainer], daemon=True)
        self._thread.start()

    def takes(self, order: dict[str, Any]) -> bool:
        """Give it a trial; False: it has ended meanwhile."""
        taken: bool = ray.get(self._orders.give.remote(order))
        return taken

    def heard(self) -> Iterator[Metrics]:
        """Yield what is reported of the trial until it has ended.

        Raises:
            Exception: why the group has ended before.
        """
        while not isinstance(said := ray.get(self._orders.hear.remote()), bool):
            yield said
        if not said:
            self._thread.join()
            raise self._error or RuntimeError("the group was told to end")

    def end(self) -> None:
        """Let it end, in a trial if need be, and wait for that."""
        with suppress(RayError):
            ray.get(self._orders.end.remote())
        self._thread.join(END_S)

    def _run(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except Exception as error:  # for who waits for its trial; if nobody does, it has done no harm
            self._error = error
        with suppress(RayError):
            ray.get(self._orders.end.remote())


def _others_wait() -> bool:
    """Does anything wait for processors: a trial whose group finds no room since a node was lost, or another job?"""
    waiting = [group for group in ray.util.placement_group_table().values() if group["state"] in WAITING]
    return any({"CPU", "GPU"} & bundle.keys() for group in waiting for bundle in group["bundles"].values())


def _naming(title: str) -> list[Any]:
    """Return what gives the group's actors their name, if this Ray is like the one that it was written for."""
    try:
        from dks_study.engine.group_naming import NamedGroup

        return [NamedGroup(title)]
    except (ImportError, AttributeError):
        return []  # names are for people alone
