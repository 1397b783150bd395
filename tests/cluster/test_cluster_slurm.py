"""cluster/slurm.sh, really run: SLURM's commands and the study are stand-ins, Ray is real in the slow test."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[2] / "cluster/slurm.sh"
SRUN = """echo "$*" >> srun_calls
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = 'echo "$@" >> scontrol_calls'
FAKE_RAY = """if [[ $1 == start ]]; then echo "$$ $*" >> ray_calls; exec sleep 60; fi"""
FAKE_PYTHON = """case "$1" in
  -c) echo 192.0.2.7 ;;
  -) until (($(cat ray_calls | wc -l) == ($3 > 1 ? 2 : 1))); do sleep 0.05; done ;;
  *) echo "$@" > command; exit "$STATUS" ;;
esac
"""
STUDY = '''"""Looks at the cluster that the script started, then trains until it is told to stop."""
import json, os, sys, time, urllib.error, urllib.request
import ray

address = sys.argv[sys.argv.index("--address") + 1]
ray.init(address, logging_level="ERROR", log_to_driver=False)


@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def where():
    time.sleep(1)
    return ray.get_runtime_context().get_node_id(), os.getcwd()


seen = ray.get([where.remote() for _ in range(2)])
try:
    urllib.request.urlopen(f"http://127.0.0.1:{int(address.rpartition(':')[2]) + 1}/api/jobs/", timeout=10)
    refused = None
except urllib.error.HTTPError as error:
    refused = error.code
nodes, folders = zip(*seen)
with open("part", "w") as file:
    json.dump({"nodes": nodes, "folders": folders, "refused": refused}, file)
os.rename("part", "report.json")
try:
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
'''


def start(folder, nodes, stand_ins, **environment):
    """Start the script in `folder`, as SLURM would on the first of `nodes` nodes with one CPU each."""
    (folder / "bin").mkdir()
    (folder / "home").mkdir()
    for name, body in {"srun": SRUN, "scontrol": SCONTROL, **stand_ins}.items():
        path = folder / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{body}")
        path.chmod(0o755)
    known = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    path = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_CPUS_PER_TASK": "1"}
    known |= {"HOME": str(folder / "home"), "PATH": os.pathsep.join(path), "SLURMD_NODENAME": "first", **job}
    words = ["bash", str(SCRIPT), "--set", "search.trials=0"]
    with (folder / "log").open("w") as log:
        # SLURM's scripts hear SIGINT; a shell cannot trap it where it was ignored, as below a shell's `&`.
        return subprocess.Popen(
            words, cwd=folder, env=known | environment, stdout=log, stderr=log,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip


@pytest.mark.parametrize("status", [0, 1, 2, 130])
@pytest.mark.parametrize("nodes", [1, 3])
def test_the_study_decides_how_the_job_ends(tmp_path, status, nodes):
    script = start(tmp_path, nodes, {"ray": FAKE_RAY, "python": FAKE_PYTHON}, STATUS=str(status))
    assert script.wait(timeout=30) == status, (tmp_path / "log").read_text()
    assert (tmp_path / "command").read_text().split()[-2:] == ["--set", "search.trials=0"]
    requeued = tmp_path / "scontrol_calls"
    assert requeued.exists() == (status == 130)
    if requeued.exists():
        assert requeued.read_text().split() == ["requeue", str(os.getpid())]
    started = (tmp_path / "ray_calls").read_text().splitlines()
    assert len(started) == min(nodes, 2)  # one step for the head, one for all others
    assert not [line for line in started if psutil.pid_exists(int(line.split()[0]))]
    assert ("--nodes=2 --ntasks=2 --exclude=first" in (tmp_path / "srun_calls").read_text()) == (nodes == 3)


@pytest.mark.slow
def test_it_starts_two_nodes_behind_a_token_and_stops_them_when_slurm_says_that_time_is_up(tmp_path):
    (tmp_path / "run_study.py").write_text(STUDY)
    short = Path(tempfile.mkdtemp(prefix="dks", dir="/tmp"))  # Ray's sockets want a short path
    script = start(tmp_path, 2, {}, RAY_TMPDIR=str(short))
    family = []
    try:
        report = tmp_path / "report.json"
        deadline = time.monotonic() + 120
        while not report.exists():
            assert script.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        seen = json.loads(report.read_text())
        assert len(set(seen["nodes"])) == 2
        assert set(seen["folders"]) == {str(tmp_path)}  # relative paths mean the same on every node
        assert seen["refused"] == 401
        assert (tmp_path / "home/.ray/auth_token").stat().st_mode & 0o777 == 0o600
        family = psutil.Process(script.pid).children(recursive=True)
        script.send_signal(signal.SIGINT)
        assert script.wait(timeout=60) == 130
        assert (tmp_path / "scontrol_calls").read_text().split()[0] == "requeue"
        assert psutil.wait_procs(family, timeout=10)[1] == []
    finally:
        if script.poll() is None:
            family = psutil.Process(script.pid).children(recursive=True)
            script.kill()
        for process in family:
            if process.is_running():
                process.kill()
        shutil.rmtree(short, ignore_errors=True)
