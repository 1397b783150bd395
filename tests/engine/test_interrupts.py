"""Ctrl-C and SIGTERM, once and twice."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dks_study.engine.interrupts import FORWARDED, ending_on_interrupt

TWICE = """
import os, signal, sys, time
from dks_study.engine.interrupts import ending_on_interrupt
lost = len(sys.argv) > 1
with ending_on_interrupt(lambda: print("ending", flush=True), lambda: lost):
    try:
        print("ready", flush=True)
        time.sleep(300)
    finally:
        print("cleaned up", flush=True)
"""


def wait_for(seen):
    deadline = time.monotonic() + 30
    while not seen and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_for_an_end_and_handlers_are_put_back(number):
    before, seen = signal.getsignal(number), []
    with ending_on_interrupt(lambda: seen.append("end"), lambda: False):
        os.kill(os.getpid(), number)
        wait_for(seen)
    assert seen == ["end"]
    assert signal.getsignal(number) == before


def test_handlers_are_put_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="x"), ending_on_interrupt(lambda: None, lambda: False):
        raise ValueError("x")
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_second_signal_ends_at_once_with_one_line():
    with subprocess.Popen(
        [sys.executable, "-c", TWICE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "ending\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), "nothing is cleaned up: that could take long"
    assert err == "Stopped: nothing that finished is lost. Run the same command again to go on.\n"


def test_a_signal_that_also_ended_what_the_study_runs_on_ends_it_at_once():
    with subprocess.Popen(
        [sys.executable, "-c", TWICE, "lost"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "ending\n")
    assert err.startswith("Stopped: ")


@pytest.mark.parametrize("order", [(signal.SIGTERM, FORWARDED), (FORWARDED, signal.SIGINT)])
def test_a_signal_that_comes_directly_and_forwarded_counts_once(order):
    with subprocess.Popen(
        [sys.executable, "-c", TWICE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(order[0])
        assert process.stdout.readline() == "ending\n"
        process.send_signal(order[1])
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(order[0])
        assert process.wait(timeout=60) == 130


def test_no_thread_of_it_lives_on():
    before = threading.active_count()
    with ending_on_interrupt(lambda: time.sleep(0.2), lambda: False):
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(threading.enumerate()[before:])
    assert threading.active_count() == before
