"""The process that draws a study's page: it starts with the study, ends with it, and never harms it."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from half_done import RUNNING, half_done, train
from studies import small_study

from dks_study.study.home import home_of
from dks_study.watch.display import PlainDisplay
from dks_study.watch.live import drawing
from dks_study.watch.live.beside import PageBeside
from dks_study.watch.live.drawing import PAGE
from dks_study.watch.live.page import filed, served
from dks_study.watch.live.snapshot import snapshot
from dks_study.watch.observers import Observed
from dks_study.watch.progress import Tracker


@pytest.fixture
def folder(tmp_path):
    return half_done(tmp_path / "small-1")


def wait_for(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def observed(folder):
    """A display with the page as its only recorder, and the page."""
    page = PageBeside(folder)
    return Observed(PlainDisplay(Tracker(small_study())), [page]), page


def test_a_page_is_there_from_the_first_trial_on_and_not_touched_after_the_end(folder):
    display, page = observed(folder)
    assert not (folder / PAGE).exists()
    display.started(RUNNING)
    train(folder)
    wait_for((folder / PAGE).exists)
    drawer = psutil.Process(page._process.pid)
    assert drawer.nice() == 19
    assert "running: process" in (folder / PAGE).read_text()
    display.end()
    assert not drawer.is_running()
    (folder / PAGE).write_text("the report")
    display.started(RUNNING)
    display.end()
    assert (folder / PAGE).read_text() == "the report"
    assert not (folder / f"{PAGE}.tmp").exists()


def test_it_ends_with_the_study_even_if_that_is_killed(folder):
    code = (
        "import sys, time; from pathlib import Path; from dks_study.watch.live.beside import PageBeside;"
        "from half_done import RUNNING; page = PageBeside(Path(sys.argv[1])); page.started(RUNNING);"
        "print(page._process.pid, flush=True); time.sleep(600)"
    )
    study = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    drawer = psutil.Process(int(study.stdout.readline()))
    wait_for((folder / PAGE).exists)
    study.send_signal(signal.SIGKILL)
    study.communicate()
    drawer.wait(30)


def test_a_study_hears_once_that_its_page_cannot_be_drawn(folder, capsys):
    display, page = observed(folder)
    display.started(RUNNING)
    page._process.kill()
    page._process.wait()
    for epoch in (1.0, 2.0):
        display.epoch(RUNNING, {"epoch": epoch})
    display.end()
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(PAGE)]
    assert said == [
        f"{PAGE}: is not drawn any more: its process has ended (left alone from here on; the study goes on)"
    ]


def draw_in_a_thread(folder, home=""):
    """Run `main` as the process does, without its priority; return what it returns, and how to end it."""
    reading, writing = os.pipe()
    os.write(writing, f"{home}\n".encode())
    returned = []

    def run():
        with os.fdopen(reading) as told:
            returned.append(drawing.main(folder, told))

    thread = threading.Thread(target=run)
    thread.start()

    def end():
        os.close(writing)
        thread.join(30)
        return returned

    return thread, end


@pytest.fixture
def often(monkeypatch):
    """Draw without waiting, and at no lower priority than the tests."""
    monkeypatch.setattr(drawing, "EVERY_S", 0.01)
    monkeypatch.setattr(drawing, "MOST_OF_A_CPU", 1.0)
    monkeypatch.setattr(os, "nice", lambda _: None)


def test_it_is_drawn_again_and_again_and_survives_files_that_come_and_go(folder, often):
    text = (folder / "provenance.json").read_text()
    thread, end = draw_in_a_thread(folder)
    first = wait_for((folder / PAGE).exists) and (folder / PAGE).read_text()
    wait_for(lambda: (folder / PAGE).read_text() != first)
    assert thread.is_alive()
    (folder / "provenance.json").write_text("{")
    (folder / "provenance.json").write_text(text)
    assert end() in ([0], [1])


@pytest.mark.parametrize(("took_s", "waits_s"), [(0.01, 30.0), (0.3, 30.0), (0.9, 90.0)])
def test_it_is_drawn_every_half_minute_unless_that_takes_more_than_a_hundredth_of_a_cpu(
    folder, monkeypatch, took_s, waits_s
):
    times, waited = iter([5.0, 5.0 + took_s]), []
    monkeypatch.setattr(os, "nice", lambda _: None)
    monkeypatch.setattr(drawing.time, "process_time", lambda: next(times))
    monkeypatch.setattr(drawing.select, "select", lambda told, _out, _err, wait: waited.append(wait) or (told, [], []))
    assert drawing.main(folder, io.StringIO("\n")) == 0
    assert waited == [pytest.approx(waits_s)]


def test_a_browser_loads_the_file_anew_every_half_minute_and_a_server_s_page_asks_every_two_seconds(folder):
    seen = snapshot(folder)
    assert re.findall(r'<meta http-equiv="refresh" content="(\d+)">', filed(seen)) == ["30"]
    live = served(seen, "n", alone=True)
    assert "http-equiv" not in live
    assert re.findall(r'data-live="true" .*data-every="(\d+)"', live) == ["2"]


def test_what_cannot_be_drawn_ends_it_with_one_line(folder, often, capsys):
    (folder / "ledger.jsonl").write_text("damaged\n")
    thread, end = draw_in_a_thread(folder)
    thread.join(30)
    assert end() == [1]
    assert capsys.readouterr().err.splitlines() == [
        f"LedgerError: {folder}/ledger.jsonl:1: not a record of a trial: "
        "it must be JSON, got none at character 1 (Expecting value)"
    ]
    assert not (folder / PAGE).exists()


def test_with_a_home_it_is_read_there_and_written_to_both(folder, often, tmp_path):
    home = home_of(str(tmp_path / "home"), folder.name)
    train(folder)
    home.push(folder, "provenance.json")
    home.push(folder, "ledger.jsonl")
    for name in ("trial.json", "epochs.jsonl"):
        home.push(folder, f"trials/{RUNNING.id}/{name}")
    (folder / "ledger.jsonl").unlink()
    _, end = draw_in_a_thread(folder, home.url)
    wait_for((folder / PAGE).exists)
    wait_for((tmp_path / "home" / folder.name / PAGE).exists)
    assert end() == [0]
    assert RUNNING.name in (folder / PAGE).read_text()
