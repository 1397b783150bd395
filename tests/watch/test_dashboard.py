"""What a running study shows in Ray's dashboard, in a real browser, and at the port for Prometheus."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import browser
import psutil
import pytest

from dks_study.watch.gauges import ABOUT

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SPACE = """
question: What does the dashboard show?
profile: {profile}
arms:
  dense: {{branches.taps: [stage1, stage2], loss.pairing: dense}}
table: {{title: Small, reference: dense}}
"""
PROFILE = """
about: as long as a test needs
trial:
  backbone: {{name: resnet, depth: 8, base_channels: 4}}
  data: {{name: digits}}
  optimiser: {{lr: 0.05, batch_size: 256}}
  epochs: 100000
  resources: {{workers: {workers}}}
report_seeds: [3, 4]
"""


@dataclass
class Study:
    """A study that is running."""

    process: subprocess.Popen
    ray: Path  # its temporary files
    url: str

    def get(self, path, token):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=30) as answer:
            return answer.read().decode()


def running(folder, workers):
    """Start a study; give it out when its first trial has trained an epoch; end it."""
    (folder / "tiny.yaml").write_text(PROFILE.format(workers=workers))
    (folder / "small.yaml").write_text(SPACE.format(profile=folder / "tiny.yaml"))
    words = ["--space", str(folder / "small.yaml"), "--results", str(folder / "results")]
    ray = Path(tempfile.mkdtemp(prefix="dks"))  # short: Ray's sockets are below it
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_study.py"), *words],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "RAY_TMPDIR": str(ray), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        url = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        deadline = time.monotonic() + 300
        while not any(folder.glob("results/*/trials/dense-confirm-seed3/last.pt")):
            assert process.poll() is None
            assert time.monotonic() < deadline, "no epoch was trained"
            time.sleep(0.2)
        yield Study(process, ray, url)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()
            shutil.rmtree(ray, ignore_errors=True)


@pytest.fixture(scope="module")
def study(request, tmp_path_factory):
    """A study whose trials have so many workers."""
    yield from running(tmp_path_factory.mktemp("study"), workers=request.param)


IN_PROCESS = pytest.mark.parametrize("study", [0], indirect=True)  # actors that train one trial after another
GROUP = pytest.mark.parametrize("study", [2], indirect=True)


async def pages(study, token, profile, wanted):
    """Log in as a person does; return what each page of `wanted` shows once it shows those words."""
    async with browser.browser_page(profile) as page:
        await page.open(f"{study.url}/#/actors")
        await page.text_with("Authentication Token Required")
        await page.type("input[type=password]", token)
        await page.press("SUBMIT")
        shown = {}
        for path, words in wanted.items():
            await page.open(f"{study.url}/#/{path}")
            shown[path] = await page.text_with(*words)
        return shown


def seen(study, token, tmp_path, wanted):
    if browser.PROGRAM is None:
        pytest.skip("no Chromium is installed")
    return asyncio.run(pages(study, token, tmp_path / "profile", wanted))


@GROUP
def test_a_browser_shows_the_actors_of_a_group_by_name_and_its_trial_as_a_process(study, token, tmp_path):
    name = "small, one trial after another"
    wanted = {
        "actors": (name, "Trial", "Orders", "TrainController", "RayTrainWorker"),
        "cluster": ("ray::dense/confirm/seed3", "ray::TrainController"),
        "jobs": ("RUNNING", "run_study.py --space"),
    }
    shown = seen(study, token, tmp_path, wanted)
    assert shown["actors"].count(name) == 5, "the trial's, the orders', the controller and the two workers"


@IN_PROCESS
def test_a_browser_shows_trials_of_reused_actors_as_processes(study, token, tmp_path):
    wanted = {"actors": ("small, one trial after another",), "cluster": ("ray::dense/confirm/seed3",)}
    seen(study, token, tmp_path, wanted)


@GROUP
def test_the_train_run_of_a_group_is_listed_for_who_has_the_token(study, token):
    (run,) = json.loads(study.get("/api/train/v2/runs/v1", token))["train_runs"]
    assert re.fullmatch(r"small-[0-9a-f]{8}", run["name"])
    assert run["status"] == "RUNNING"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        study.get("/api/train/v2/runs/v1", None)


@GROUP
def test_the_dashboard_listens_on_this_machine_alone(study):
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)", study.url)
    children = psutil.Process(study.process.pid).children(recursive=True)
    ports = [c.laddr for child in children for c in child.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert {address.ip for address in ports if address.port == int(found[1])} == {"127.0.0.1"}


def metrics_of(target):
    """Return what a target of Prometheus tells; nothing from one that has not started yet."""
    try:
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=30) as answer:
            return answer.read().decode()
    except urllib.error.URLError:
        return ""


@GROUP
def test_prometheus_can_read_every_gauge(study):
    deadline = time.monotonic() + 60  # Ray passes metrics on every ten seconds
    while True:
        (job,) = json.loads((study.ray / "ray" / "prom_metrics_service_discovery.json").read_text())
        texts = map(metrics_of, job["targets"])
        lines = [line for text in texts for line in text.splitlines() if line.startswith("ray_dks_")]
        names = {line.partition("{")[0] for line in lines}
        if names == {f"ray_{name}" for name in ABOUT} - {"ray_dks_best_val_top1_percent"}:  # no trial has completed
            break
        assert time.monotonic() < deadline, names
        time.sleep(1)
    (line,) = [line for line in lines if 'state="running"' in line and 'phase="confirm"' in line]
    assert re.search(r'study="small-[0-9a-f]+"', line)
    assert line.endswith(" 1.0")
