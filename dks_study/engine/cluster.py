"""The nodes of the Ray that a study runs on: what they have, and whether they can take part.

A cluster may grow and shrink while a study runs: how many trials run at a time is asked anew whenever one could start.
"""

import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.experimental.internal_kv import _internal_kv_get
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dks_study.spec.trial import ResourceSpec
from dks_study.study.provenance import PROVENANCE, code_hash
from dks_study.study.storage import Files, Place
from dks_study.training.arm_checks import StudyError


class NodeError(RuntimeError):
    """A node cannot take part in the study; the message is one line."""


class OtherDataError(NodeError):
    """A node does not see the images that the study began with."""


Resources = Mapping[str, float]  # Ray's names: CPU, GPU
ASKED_EVERY_S = 2.0
PROBE = "probe.txt"


def present() -> Sequence[Resources]:
    """Return what each node of the cluster has now."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def total(nodes: Sequence[Resources], name: str) -> float:
    """Return what all nodes have together."""
    return sum(node.get(name, 0) for node in nodes)


def grows() -> bool:
    """Does an autoscaler start nodes for what waits? It gives nodes types of its own; without, theirs are made up."""
    address = ray.get_runtime_context().gcs_address
    while (status := _internal_kv_get(DEBUG_AUTOSCALING_STATUS)) is None:  # the cluster has just been started
        time.sleep(ASKED_EVERY_S)
    first = json.loads(status)["autoscaler_report"]["node_type_mapping"] or {}
    second = get_cluster_status(address)
    types = [*first.values(), *(node.ray_node_type_name for node in (*second.active_nodes, *second.idle_nodes))]
    return any(not kind.startswith("node_") for kind in types)


def check_possible(resources: ResourceSpec, nodes: Sequence[Resources]) -> None:
    """Refuse trials of which not even one fits on `nodes`: Ray would let them wait for ever.

    Raises:
        StudyError: says what is missing.
    """
    for name, amount in (("CPU", resources.cpus), ("GPU", resources.gpus)):
        if amount > (there := total(nodes, name)):
            key = f"trial.resources.{name.lower()}s_per_worker"
            raise StudyError(f"{key}: a trial needs {amount:g} {name}, but there are {there:g}")
    if not concurrency(resources, nodes):
        each = f"{resources.cpus_per_worker} CPU" + (
            f" and {resources.gpus_per_worker:g} GPU" if resources.gpus else ""
        )
        workers = max(1, resources.workers)
        for_whom = f"{workers} workers of {each} each" if workers > 1 else each
        raise StudyError(f"trial.resources: a trial needs {for_whom}, each worker on one node, but no nodes have that")


def concurrency(resources: ResourceSpec, nodes: Sequence[Resources]) -> int:
    """Return how many trials fit at a time on `nodes`; a worker, and a trial without workers, is on one of them."""
    return sum(_workers_on(node, resources) for node in nodes) // max(1, resources.workers)


def _workers_on(node: Resources, resources: ResourceSpec) -> int:
    by_cpu = int(node.get("CPU", 0) // resources.cpus_per_worker)
    if not (share := resources.gpus_per_worker):
        return by_cpu
    # A worker has its part of one card; 1 / 0.2 is 5, but 1 // 0.2 is 4.
    return min(by_cpu, int(node.get("GPU", 0)) * int(1 / share + 1e-9))


def check_node(place: Place, code: str) -> None:
    """Refuse to train on a node that does not see the results folder, or has other code than the driver.

    Raises:
        NodeError: says which of the two.
    """
    results = Path(place.folder).parent.parent
    if place.home is None and not (results / PROVENANCE).exists():
        raise NodeError(f"{results}: must be a folder that every node sees; it is not there on {host()}")
    if (here := code_hash()) != code:
        raise NodeError(f"dks_study must be the same code on every node, got {here} on {host()} instead of {code}")


def check_nodes(files: Files, code: str, check_data: Callable[[], None]) -> None:
    """Try on every node of a cluster whether it can write the study's files and has the driver's code and data.

    The node that the driver is connected to is among them: on one machine it may be in another container.

    Raises:
        StudyError: names the node.
    """
    for node in (node["NodeID"] for node in ray.nodes() if node["Alive"]):
        there = ray.remote(_probe).options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, False))
        place = files.place(f"probe-{node}")
        try:
            ray.get(there.remote(place, code, check_data))
            if not place.has(PROBE):
                raise NodeError(f"{place.folder}: what {node} writes there is not seen here")
        except (NodeError, OSError, ray.exceptions.RayError) as error:
            cause = getattr(error, "cause", None) or error
            what = "" if isinstance(cause, OtherDataError) else "--storage: " if files.home else "--results: "
            raise StudyError(f"{what}{cause}") from error
        finally:
            place.clear()


def _probe(place: Place, code: str, check_data: Callable[[], None]) -> None:
    check_node(place, code)
    check_data()
    with place.opened(writer=True) as (folder, _):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PROBE).write_text("written by a probe", encoding="utf-8")


def host() -> str:
    """Return name and address of this node."""
    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


class Slots:
    """How many trials may be started, as the cluster grows and shrinks; every change is noted."""

    def __init__(self, resources: ResourceSpec, note: Callable[[str], None], *, growing: bool) -> None:
        """Count once, which `note` is told of; an autoscaler of a `growing` cluster starts nodes for trials that wait.

        Raises:
            StudyError: if no trial could run.
        """
        if not growing:
            check_possible(resources, present())
        self._resources, self._note, self._growing = resources, note, growing
        if not resources.gpus and (gpus := total(present(), "GPU")):
            note(
                f"Note: {gpus:g} GPU{'s stay' if gpus > 1 else ' stays'} idle, as trial.resources.gpus_per_worker is 0."
            )
        self._fit, self._asked = -1, 0.0
        self.now()

    def now(self) -> int:
        """Return the number; the cluster is asked at most every two seconds.

        Where there is an autoscaler, as many trials as run wait besides: without any it would see no need to grow.
        """
        if time.monotonic() - self._asked >= ASKED_EVERY_S or self._fit < 0:
            self._asked = time.monotonic()
            fit = concurrency(self._resources, present())
            if fit != self._fit:
                self._note(f"{fit} trials at a time" if fit else "no trial fits now: waiting for the cluster")
            self._fit = fit
        return self._fit + max(1, self._fit) if self._growing else self._fit
