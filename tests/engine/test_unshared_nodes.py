"""A node that does not see the results folder: refused without --storage, of use with it. Real Ray nodes."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from whole_studies import finish, records

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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Address of a cluster of two nodes, and a results folder in whose place the second one has one of its own."""
    if not may_unshare():
        pytest.skip("mounts cannot be made here: no node that does not share the folder")
    # As on a cluster whose ports can be reached: who joins must show the token.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        yield from _nodes(tmp_path_factory.mktemp("results"))


def _nodes(results):
    port = free_port()
    dashboard = ("--dashboard-host=127.0.0.1", f"--dashboard-port={free_port()}")
    head = start_node("--head", f"--port={port}", "--include-dashboard=true", *dashboard)
    nodes = [head]
    try:
        wait_until_it_listens(port, head)
        address = f"{socket.gethostbyname(socket.gethostname())}:{port}"
        behind = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none "{results}" && exec "$@"', "sh"]
        nodes.append(start_node(f"--address={address}", behind=behind))
        yield address, results
    finally:
        for node in reversed(nodes):  # SIGTERM to `ray start --block` ends all processes of its node
            node.terminate()
        for node in nodes:
            node.communicate(timeout=60)


@pytest.mark.slow
def test_who_has_no_token_cannot_join(space, cluster, monkeypatch):
    address, results = cluster
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong" * 8)
    _, _, err = finish(space, results, *SMALL, code=2, options=("--address", address))
    assert "cannot be joined" in err.splitlines()[-1]
    assert "Traceback" not in err


SMALL = ("search.trials=0", "report_seeds=[0, 1]", "trial.epochs=2")


@pytest.mark.slow
def test_a_node_that_does_not_see_the_results_is_refused_before_anything_trains(space, cluster):
    address, results = cluster
    folder, _, err = finish(space, results, *SMALL, code=2, options=("--address", address))
    assert len(err.splitlines()) == 1
    assert "must be a folder that every node sees; it is not there on" in err
    assert not (folder / "trials").exists()


@pytest.mark.slow
def test_with_a_home_it_trains_like_any_other(space, cluster, tmp_path):
    address, results = cluster
    where = ("--address", address, "--storage", str(tmp_path / "home"))
    folder, out, err = finish(space, results, *SMALL, code=0, options=where)
    assert err == ""
    assert "2 trials at a time" in out
    assert [record.outcome.status for record in records(folder)] == ["complete"] * 4
    assert (tmp_path / "home" / folder.name / "table.md").read_bytes() == (folder / "table.md").read_bytes()
