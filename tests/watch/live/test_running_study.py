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
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import browser
import pytest
from whole_studies import PATIENCE_S, ROOT, records, start, wait_for, wait_until, write_study

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
    targets: Path  # what Ray says where its numbers are


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Give it out when a confirmation has begun; end it with Ctrl-C."""
    place, ray = tmp_path_factory.mktemp("study"), Path(tempfile.mkdtemp(prefix="dks"))  # short: sockets are below it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(ray))
        space = write_study(place, profile=PROFILE)
        process = start(space, place / "results", log=place / "log.txt", outlives_test=True)
    try:
        folder = wait_for(place / "results", lambda folder: any(folder.glob("trials/*-seed0/epochs.jsonl")), process)
        yield Study(folder, ray / "ray" / "prom_metrics_service_discovery.json")
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


SIDE_SCROLL = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_a_browser_shows_numbers_that_go_on_without_a_reload(study, url, tmp_path):
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
        return await page.evaluate(SIDE_SCROLL)

    assert looked_at(look, tmp_path, width=500) <= 0, "it fits a narrow window"


def test_the_file_is_the_same_page_and_comes_from_no_server(study, tmp_path):
    wait_until((study.folder / "report.html").exists)

    async def look(page):
        await page.open((study.folder / "report.html").as_uri())
        return await page.text_with(study.folder.name, "running", "Sealed: test errors", "As of")

    assert 0 <= trials_shown(looked_at(look, tmp_path)) <= len(records(study.folder))
    page = (study.folder / "report.html").read_text()
    assert set(re.findall(r"https?://[^\s\"]+", page)) == {"http://www.w3.org/2000/svg"}, "the name of SVG, no address"


@pytest.fixture
def prometheus(study, tmp_path):
    """A real one that finds the study as Ray offers it; asked by path."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no Prometheus is installed: apt-get install prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = {"job_name": "ray", "file_sd_configs": [{"files": [str(study.targets)]}]}
    often = {"scrape_interval": "10s"}  # as Ray's own file for Prometheus: on a busy machine an answer can take seconds
    (tmp_path / "prometheus.yml").write_text(json.dumps({"global": often, "scrape_configs": [found]}))
    where = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen([program, *where, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)

    def ask(path, **query):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(query)}") as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:  # it is starting
            error.close()
        except urllib.error.URLError:  # or does not even listen
            pass
        return []

    try:
        yield ask
    finally:
        process.terminate()
        process.wait(60)


def test_prometheus_scrapes_what_the_grafana_dashboard_draws(study, prometheus):
    named = {f"ray_{name}" for name in ABOUT}
    try:
        wait_until(lambda: named <= set(prometheus("/api/v1/label/__name__/values")))
    except TimeoutError:
        pytest.fail(f"{prometheus('/api/v1/targets')}\n{(study.folder.parent.parent / 'log.txt').read_text()[-2000:]}")
    dashboard = json.loads((ROOT / "cluster" / "grafana_dashboard.json").read_text())
    drawn = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(drawn) > 4
    for text in drawn:
        series = prometheus("/api/v1/query", query=text.replace("$study", ".*"))["result"]
        assert series, f"nothing is drawn by {text}"
    assert prometheus("/api/v1/label/study/values", **{"match[]": "ray_dks_trials"}) == [study.folder.name]
    running = prometheus("/api/v1/query", query='sum(ray_dks_trials{state="running"})')["result"]
    assert float(running[0]["value"][1]) >= 1
