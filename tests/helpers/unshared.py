"""Two real Ray nodes on this machine, of which the second sees other files in some place."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))


def may_unshare():
    return shutil.which("unshare") is not None and (
        subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    )


def start_node(*words, behind=()):
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.Popen(
        [*behind, RAY, "start", *words, "--num-cpus=1", "--disable-usage-stats", "--block"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_listens(port, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError("the head node did not start")


def wait_until_it_has_joined(process):
    said = []
    for line in process.stdout:
        said.append(line)
        if b"Ray runtime started" in line:
            return
    raise RuntimeError(b"".join(said))


@contextmanager
def two_nodes(mount):
    """Give out the address of a cluster of two nodes of one CPU; the second has done `mount`, which is its own."""
    port = free_port()
    dashboard = ("--dashboard-host=127.0.0.1", f"--dashboard-port={free_port()}")
    head = start_node("--head", f"--port={port}", "--include-dashboard=true", *dashboard)
    nodes = [head]
    try:
        wait_until_it_listens(port, head)
        address = f"{socket.gethostbyname(socket.gethostname())}:{port}"
        behind = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"]
        nodes.append(start_node(f"--address={address}", behind=behind))
        wait_until_it_has_joined(nodes[-1])
        yield address
    finally:
        for node in reversed(nodes):  # SIGTERM to `ray start --block` ends all processes of its node
            node.terminate()
        for node in nodes:
            node.communicate(timeout=60)
