"""Ray clusters of several nodes on this machine, in a process of their own that is told lines.

`add CPUS` starts a node, `kill PID` kills the node that runs the process (never the head). A cluster ends with its
process, and touches no other Ray on the machine.
"""

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress

import psutil
from whole_studies import ROOT

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
    """Start a head and further nodes with so many CPUs each."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
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


def serve(folder, cpus):
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


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        serve(scratch, [int(word) for word in sys.argv[1:]])
