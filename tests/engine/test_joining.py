"""Joining Ray: what is no Ray, and what keeps Ray from starting, is told in one line and soon."""

import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
import ray
from ray.core.generated.gcs_service_pb2 import CheckAliveReply
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceServicer, add_NodeInfoGcsServiceServicer_to_server
from whole_studies import ROOT, finish, study_folder

from dks_study.engine import joining
from dks_study.engine.joining import TOKEN_PATH, join
from dks_study.training.arm_checks import StudyError


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("ray://127.0.0.1:10001", "must be auto or HOST:PORT"),
        ("local", "must be auto or HOST:PORT"),
        ("127.0.0.1:1", "^--address 127.0.0.1:1: cannot be joined: .*refused"),
        ("127.0.0.1:99999", "cannot be joined"),
        ("no-such-host.invalid:6379", "cannot be joined"),
    ],
)
def test_an_address_where_nobody_listens_is_refused_at_once(address, why, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(StudyError, match=why), ExitStack() as undo:
        join(address, print, undo)


@contextmanager
def silent():
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def web():
    """A web server."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def speaking(*services):
    """A gRPC server with these services."""
    server = grpc.server(ThreadPoolExecutor(1))
    for service in services:
        add_NodeInfoGcsServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait()


class Older(NodeInfoGcsServiceServicer):
    """The head of a cluster of another version."""

    def CheckAlive(self, request, context):
        return CheckAliveReply(ray_version="2.9.3")


class Guarded(NodeInfoGcsServiceServicer):
    """The head of a cluster that asks for a token."""

    def CheckAlive(self, request, context):
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")


OTHERS = {
    "silent": (silent, "not the head of a Ray cluster"),
    "web": (web, "not the head of a Ray cluster"),
    "grpc": (speaking, "not the head of a Ray cluster"),
    "older": (lambda: speaking(Older()), f"it runs Ray 2.9.3, must be {ray.__version__} as here"),
    "guarded": (lambda: speaking(Guarded()), "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_answers_but_cannot_be_joined_is_refused_soon(name, monkeypatch):
    monkeypatch.setattr(joining, "CONNECT_TIMEOUT_S", 2.0)
    other, why = OTHERS[name]
    before = time.monotonic()
    with other() as port, pytest.raises(StudyError) as refusal, ExitStack() as undo:
        join(f"127.0.0.1:{port}", print, undo)
    assert time.monotonic() - before < 10
    assert str(refusal.value).startswith(f"--address 127.0.0.1:{port}: cannot be joined: ")
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.fixture
def no_token(monkeypatch):
    for name in (joining.TOKEN, joining.TOKEN_PATH, joining.MODE):
        monkeypatch.delenv(name, raising=False)


def test_where_home_keeps_a_token_nothing_changes(no_token, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with joining._token_elsewhere() as kept:
        assert kept is None
    assert TOKEN_PATH not in os.environ


def test_where_home_cannot_be_written_the_token_is_kept_elsewhere_for_its_owner_alone(no_token, monkeypatch):
    monkeypatch.setenv("HOME", "/proc/nowhere")
    with joining._token_elsewhere() as kept:
        assert os.environ[TOKEN_PATH] == str(kept)
        assert len(kept.read_text()) == 64
        assert kept.parent.stat().st_mode & 0o077 == 0
    assert not kept.parent.exists()
    assert TOKEN_PATH not in os.environ


@pytest.mark.parametrize(("name", "value"), [("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_MODE", "disabled")])
def test_a_token_of_ones_own_is_left_alone(no_token, monkeypatch, name, value):
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.setenv(name, value)
    with joining._token_elsewhere() as kept:
        assert kept is None


def small_disk(*options):
    """Return words before a command that has a disk of its own in its folder `disk`."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("mounts cannot be made here")
    return ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o {",".join(options)} none disk && exec "$@"', "sh"]


def test_the_port_of_the_dashboard_is_kept_for_it():
    with joining._held_port() as port:
        with socket.socket() as another, pytest.raises(OSError, match="already in use"):
            another.bind(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            pass  # as Ray's dashboard does: with SO_REUSEADDR


def test_the_autoscaler_s_numbers_have_a_port_of_their_own_unless_told(monkeypatch):
    monkeypatch.delenv(joining.METRICS_PORT, raising=False)
    with joining._metrics_port():
        port = int(os.environ[joining.METRICS_PORT])
        with socket.create_server(("127.0.0.1", port)), joining._metrics_port():
            assert os.environ[joining.METRICS_PORT] == str(port), "told"
    assert joining.METRICS_PORT not in os.environ


TAKERS = {
    "late": ["not to be had", "True"],
    "early": [
        "Ray cannot start here: another program took port {}, which was free for its dashboard; run the command again"
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("when", TAKERS)
def test_a_port_that_is_taken_while_ray_starts(when):
    words = [sys.executable, str(ROOT / "tests" / "helpers" / "port_taker.py"), when]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    assert re.sub(r"port \d+", "port {}", done.stdout).splitlines() == TAKERS[when], done.stderr


LONG = "a" * 90
REFUSED = {
    "too long": (lambda: [], {"TMPDIR": LONG}, f"TMPDIR: too long for Ray's sockets, got {{}}/{LONG}; set RAY_TMPDIR"),
    "no folder": (lambda: [], {"RAY_TMPDIR": "/proc"}, "RAY_TMPDIR: /proc/ray: No such file or directory; set"),
    "no token": (lambda: [], {TOKEN_PATH: "/nowhere/t"}, f"{TOKEN_PATH}: must name a file that holds the token"),
    "full": (lambda: small_disk("size=1m"), {"TMPDIR": "disk"}, "TMPDIR: no space left in {}/disk; free some, or"),
    "read-only": (lambda: small_disk("ro"), {"TMPDIR": "disk"}, "TMPDIR: {}/disk/ray: Read-only file system; set"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_keeps_ray_from_starting_is_named_with_what_helps(name, space, tmp_path, monkeypatch):
    before, environment, why = REFUSED[name]
    (tmp_path / LONG).mkdir()
    (tmp_path / "disk").mkdir()
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(tmp_path / value) if variable.endswith("TMPDIR") else value)
    words = [*before(), sys.executable, str(ROOT / "run_study.py"), "--space", str(space), "--results", "results"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"run_study: Ray cannot start here: {why.format(tmp_path)}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_results_that_cannot_be_written_are_blamed_on_themselves(space):
    folder, _, err = finish(space, "/proc/results", code=2)
    assert err == f"run_study: --results {err.split()[2][:-1]}: No such file or directory\n"
    assert err.split()[2].startswith("/proc/results/small-")
    assert study_folder(Path("/proc/results")) is folder is None
