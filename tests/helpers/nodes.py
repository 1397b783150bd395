"""Ray clusters of several nodes on this machine, in a process of their own that is told lines.

`add CPUS` starts a node, `kill PID` kills the node that runs the process (never the head). A cluster ends with its
process, and touches no other Ray on the machine.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from ray.util import get_node_ip_address
from whole_studies import ROOT, wait_until

ANSWER = "nodes: "


class Nodes:
    """The cluster as a test sees it: its address, and what it is told."""

    def __init__(self, process):
        self._process = process
        self.address = self._answer()

    def tell(self, *words):
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return line.removeprefix(ANSWER).strip()
        raise RuntimeError("the cluster has ended")


@contextmanager
def nodes(*words):
    """Start a head and further nodes with so many CPUs each; or, of `growing N`, one that starts up to N with one."""
    paths = [str(ROOT), str(ROOT / "tests/helpers"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    process = subprocess.Popen(
        [sys.executable, __file__, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip
    with process:
        try:
            yield Nodes(process)
        finally:
            head = psutil.Process(process.pid)
            for each in (*head.children(recursive=True), head):
                with suppress(psutil.NoSuchProcess):
                    each.kill()


def say(text):
    print(f"{ANSWER}{text}", flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fixed(folder, cpus):
    """Serve a cluster whose nodes come and go as they are told."""
    from ray.cluster_utils import Cluster

    head = {"dashboard_host": "127.0.0.1", "dashboard_port": free_port(), "include_dashboard": True}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "num_cpus": cpus[0], "temp_dir": folder})
    started = [cluster.add_node(num_cpus=number) for number in cpus[1:]]
    say(cluster.address)
    for line in sys.stdin:
        what, number = line.split()
        if what == "add":
            started.append(cluster.add_node(num_cpus=int(number)))
        else:
            raylet = psutil.Process(int(number)).ppid()
            mine = [node for node in started if node.all_processes["raylet"][0].process.pid == raylet]
            for node in mine:
                cluster.remove_node(node, allow_graceful=False)
        say("done" if what == "add" or mine else "it is the head's")


def growing(folder, most):
    """Serve a cluster whose head has no CPU, with an autoscaler that can start `most` nodes."""
    port = free_port()
    address = f"{get_node_ip_address()}:{port}"
    kinds = {
        "ray.head.default": {"resources": {}, "node_config": {}, "max_workers": 0},
        "one": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": most},
    }
    config = {
        "cluster_name": "fake",
        "max_workers": most,
        "provider": {"type": "fake_multinode", "gcs_address": address, **ONE_MACHINE},
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        "idle_timeout_minutes": 5,
        "upscaling_speed": 1.0,
        **{key: {} for key in ("auth", "docker", "file_mounts")},
        **{key: [] for key in COMMANDS},
        **{f"{prefix}{kind}_commands": [] for kind in ("setup", "start_ray") for prefix in ("", "head_", "worker_")},
    }
    path = Path(folder, "config.json")
    path.write_text(json.dumps(config))
    words = ["start", "--head", "--block", "--num-cpus=0", f"--port={port}", f"--temp-dir={folder}"]
    words += ["--dashboard-host=127.0.0.1", f"--dashboard-port={free_port()}", f"--autoscaling-config={path}"]
    environment = os.environ | {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *words], env=environment, stdout=subprocess.DEVNULL
    ) as ray:
        wait_until(lambda: Path(folder, "ray_current_cluster").exists(), ray)  # written last
        say(address)
        sys.stdin.read()


# All nodes have the address of this machine: the autoscaler must tell them apart by their ids, and needs no SSH.
ONE_MACHINE = {
    "use_node_id_as_ip": True,
    "disable_node_updaters": True,
    "disable_launch_config_check": True,
    "worker_liveness_check": False,
}
COMMANDS = ("initialization_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        if sys.argv[1] == "growing":
            growing(scratch, int(sys.argv[2]))
        else:
            fixed(scratch, [int(word) for word in sys.argv[1:]])
