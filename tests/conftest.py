"""What several test files share. PyTorch takes seconds to import, also in the process that only hands out the tests."""

import gc
import os
import shutil
import signal

import psutil
import pytest
from hypothesis import settings
from whole_studies import end_what_was_started, finish, in_confirmation, start, wait_for, write_study

settings.register_profile("tests", deadline=None)  # other work may share the machine
settings.load_profile("tests")
MOST_PROCESSES = 4  # each takes half a GiB


def pytest_xdist_auto_num_workers(config):
    """Run the quick tests beside one another, and the slow ones, which have Ray use the whole machine, one by one.

    One more at a time than there are cores: many wait, for a process that they have started or for a clock.
    """
    return 0 if config.option.markexpr == "slow" else min(MOST_PROCESSES, psutil.cpu_count() + 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Keep the garbage collector from going through all that imports make, which takes seconds: it lives to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory):
    """Keep what is remembered of files out of the cache of whoever runs the tests, but for the list of fonts."""
    import matplotlib

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())  # to make the list takes seconds
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def nothing_left_running():
    """Leave no study behind, whatever a test comes to."""
    yield
    end_what_was_started()


@pytest.fixture
def hangups():
    """Let programs that a test starts die of a hangup, though this process may have been told to ignore them."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Let PyTorch compute with one thread: sums are taken in the same order everywhere.

    And networks as small as those of tests take three times the CPU time with two, which mostly wait for one another.
    """
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def space(tmp_path_factory):
    """A question whose study takes seconds."""
    return write_study(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="session")
def uninterrupted(space, tmp_path_factory):
    """Its study, run without a fault: results folder, stdout, stderr."""
    return finish(space, tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def killed_half_way(space, tmp_path_factory):
    """The results of its study, killed in confirmation; every checkpoint was kept so far. Copy it before use."""
    results = tmp_path_factory.mktemp("half")
    process = start(space, results, "keep=all")
    folder = wait_for(results, in_confirmation, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return folder


@pytest.fixture
def half_way(killed_half_way, tmp_path):
    """A copy of a half-finished study, in tmp_path/results."""
    return shutil.copytree(killed_half_way, tmp_path / "results" / killed_half_way.name)


@pytest.fixture(scope="session")
def calm(tmp_path_factory):
    """By number of workers: the results of the study of tests/helpers/faulty.py without its fault."""
    from faulty import calm_study

    known = {}

    def results(workers):
        if workers not in known:
            known[workers] = finish(*calm_study(tmp_path_factory.mktemp("calm"), workers))[0]
        return known[workers]

    return results
