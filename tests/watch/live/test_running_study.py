"""A study that runs, as it is seen from outside: its page in a real browser, its numbers in a real Prometheus."""

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import browser
import pytest
from whole_studies import PATIENCE_S, ROOT, records, start, wait_for, wait_until, write_study

from dks_study.engine.joining import _held_port
from dks_study.watch.gauges import ABOUT

pytestmark = pytest.mark.slow
# Searches that end at once, and more confirmations than a test waits for.
PROFILE = f"""
about: as long as a test needs
trial:
  backbone: {{name: resnet, depth: 8, base_channels: 4}}
  data: {{name: digits}}
  optimiser: {{lr: 0.05, batch_size: 256}}
  epochs: 10
search: {{trials: 1, seed: 9999}}
report_seeds: {list(range(500))}
"""


@dataclass
class Study:
    """A study that is running."""

    folder: Path
    log: Path  # what it prints
    metrics: Path  # what Ray writes for Prometheus and Grafana


@pytest.fixture(scope="module")
def prometheus_url():
    """Where Prometheus will listen: Ray's dashboard must be told before it starts."""
    with _held_port() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def another_ray():
    """The port that Ray's autoscaler takes unless told is somebody's."""
    try:
        server = socket.create_server(("127.0.0.1", 44217))
    except OSError:  # it is
        yield
    else:
        with server:
            yield


@pytest.fixture(scope="module")
def study(tmp_path_factory, prometheus_url, another_ray):
    """Give it out when a confirmation has begun; end it with Ctrl-C."""
    place, ray = tmp_path_factory.mktemp("study"), Path(tempfile.mkdtemp(prefix="dks"))  # short: sockets are below it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(ray))
        patch.setenv("RAY_PROMETHEUS_HOST", prometheus_url)
        space = write_study(place, profile=PROFILE)
        process = start(space, place / "results", log=place / "log.txt", outlives_test=True)
    try:
        folder = wait_for(place / "results", lambda folder: any(folder.glob("trials/*-seed0/epochs.jsonl")), process)
        yield Study(folder, place / "log.txt", ray / "ray" / "session_latest" / "metrics")
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        shutil.rmtree(ray, ignore_errors=True)


@pytest.fixture
def url(study):
    """Where `dks-study watch` serves it."""
    words = [sys.executable, str(ROOT / "run_study.py"), "watch", str(study.folder.parent), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"http://\S+/", process.stdout.readline())[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def looked_at(look, tmp_path, **sizes):
    """Return what `look` makes of a page of a browser."""
    if browser.PROGRAM is None:
        pytest.skip("no Chromium is installed")

    async def opened():
        async with browser.browser_page(tmp_path / "profile", **sizes) as page:
            return await look(page)

    return asyncio.run(opened())


def trials_shown(text):
    return int(re.search(r"(\d+) of \d+ trials", text)[1])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_shows_numbers_that_go_on_without_a_reload(study, url, tmp_path, width, scheme):
    async def look(page):
        await page.open(url)
        await page.text_with("1 study, 1 running", "trials")
        await page.evaluate("document.querySelector('article a').click()")
        text = await page.text_with("/10", "Search history", "Learning curves", "Sealed: test errors")
        await page.evaluate("window.stays = true")
        first = trials_shown(text)
        deadline = time.monotonic() + 60
        while trials_shown(await page.text_with("trials")) == first:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.3)
        assert await page.evaluate("window.stays"), "it was not loaded anew"
        assert await page.evaluate("document.querySelectorAll('figure > svg polyline').length") >= 1
        assert await page.evaluate("document.querySelectorAll('figure > svg circle').length") >= 2
        return await page.looks()

    looks = looked_at(look, tmp_path, width=width, scheme=scheme)
    assert looks["width"] == width
    assert looks["over"] <= 0, "it fits its window"
    assert (looks["background"] < 0.1) == (scheme == "dark")
    assert looks["contrast"] >= 4.5, looks


def test_the_file_is_the_same_page_and_comes_from_no_server(study, tmp_path):
    wait_until((study.folder / "report.html").exists)

    async def look(page):
        await page.open((study.folder / "report.html").as_uri())
        return await page.text_with(study.folder.name, "running", "Sealed: test errors", "As of")

    assert 0 <= trials_shown(looked_at(look, tmp_path)) <= len(records(study.folder))
    page = (study.folder / "report.html").read_text()
    assert set(re.findall(r"https?://[^\s\"]+", page)) == {"http://www.w3.org/2000/svg"}, "the name of SVG, no address"


@pytest.fixture(scope="module")
def prometheus(study, prometheus_url, tmp_path_factory):
    """A real one, started with the file that Ray writes for it; asked by path."""
    program, place = shutil.which("prometheus"), tmp_path_factory.mktemp("prometheus")
    if program is None:
        pytest.skip("no Prometheus is installed: apt-get install prometheus")
    words = [f"--config.file={study.metrics}/prometheus/prometheus.yml", f"--storage.tsdb.path={place}/data"]
    with (place / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [program, *words, f"--web.listen-address={urlsplit(prometheus_url).netloc}"], stderr=log
        )

    def ask(path, **query):
        with urllib.request.urlopen(f"{prometheus_url}{path}?{urlencode(query)}") as answer:
            return json.load(answer)["data"]

    def ready():
        try:
            return ask("/api/v1/status/buildinfo")
        except urllib.error.URLError:  # it is starting, or does not even listen
            return None

    try:
        wait_until(ready)
        yield ask
    finally:
        process.terminate()
        process.wait(60)


def queries(dashboard):
    """What a file for Grafana asks Prometheus, by panel, for all values of its variables."""
    inner = [panel for row in dashboard["panels"] for panel in (row, *row.get("panels", []))]
    return {
        panel["title"]: [re.sub(r"\$\w+", ".*", target["expr"]) for target in panel["targets"]]
        for panel in inner
        if "targets" in panel
    }


def drawn(prometheus, panels):
    """The panels of which a query at least has series; Prometheus takes every query."""
    found = {
        title: [prometheus("/api/v1/query", query=each)["result"] for each in asked] for title, asked in panels.items()
    }
    return {title for title, series in found.items() if any(series)}


def test_prometheus_scrapes_what_the_grafana_dashboard_draws(study, prometheus):
    named = {f"ray_{name}" for name in ABOUT}
    try:
        wait_until(lambda: named <= set(prometheus("/api/v1/label/__name__/values")))
    except TimeoutError:
        pytest.fail(f"{prometheus('/api/v1/targets')}\n{study.log.read_text()[-2000:]}")
    panels = queries(json.loads((ROOT / "cluster" / "grafana_dashboard.json").read_text()))
    asked = [text for texts in panels.values() for text in texts]
    assert len(asked) > 4
    for text in asked:
        # A metric of ended trials has a value from the first that has ended.
        try:
            wait_until(lambda text=text: prometheus("/api/v1/query", query=text)["result"])
        except TimeoutError:
            pytest.fail(f"nothing is drawn by {text}")
    assert prometheus("/api/v1/label/study/values", **{"match[]": "ray_dks_trials"}) == [study.folder.name]
    running = prometheus("/api/v1/query", query='sum(ray_dks_trials{state="running"})')["result"]
    assert float(running[0]["value"][1]) >= 1


def test_prometheus_has_what_ray_s_own_metrics_page_draws(study, prometheus, token):
    panels = queries(
        json.loads((study.metrics / "grafana" / "dashboards" / "default_grafana_dashboard.json").read_text())
    )
    # No GPU is here, no TPU, and nothing was killed or failed.
    wanted = {title for title in panels if not re.search("GPU|TPU|Kills|Failures", title)}
    assert wanted >= {"Cluster Utilization", "Node CPU Usage", "Node Memory Usage % (heap + object store)"}
    assert wanted >= {"Node Count", "All Tasks by State", "All Actors by State", "Logical CPUs Usage"}
    try:
        wait_until(lambda: wanted <= drawn(prometheus, panels))
    except TimeoutError:
        pytest.fail(f"nothing is drawn in {wanted - drawn(prometheus, panels)}")
    dashboard = re.search(r"http://\S+", study.log.read_text())[0]
    request = urllib.request.Request(f"{dashboard}/api/prometheus_health", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer) == {"result": True, "msg": "prometheus running", "data": {}}
