"""A disk that runs full under a study."""

import subprocess

import pytest
from whole_studies import PATIENCE_S, finish, lasting, records, same_tables, start, wait_for

SMALL, LARGE = "16m", "64m"


@pytest.fixture
def small_disk(tmp_path):
    """A folder with a disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "none", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk):
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


@pytest.mark.slow
def test_a_full_disk_ends_a_study_that_goes_on_when_there_is_room(space, uninterrupted, small_disk):
    process = start(space, small_disk / "results")
    folder = wait_for(small_disk / "results", lambda folder: records(folder), process)
    fill(small_disk)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, out + err
    assert err.startswith(f"run_study: {folder}: ")
    assert len(err.splitlines()) == 1, err
    assert {record.outcome.status for record in records(folder)} == {"complete"}
    _, _, err = finish(space, small_disk / "results", code=2)
    assert len(err.splitlines()) == 1, err
    subprocess.run(["mount", "-o", f"remount,size={LARGE}", small_disk], check=True)
    finish(space, small_disk / "results")
    assert same_tables(folder, uninterrupted[0])
    assert lasting(folder) == lasting(uninterrupted[0])


@pytest.mark.slow
def test_a_disk_budget_that_is_too_small_is_refused_before_anything_trains(space, tmp_path):
    folder, _, err = finish(space, tmp_path, code=2, options=("--disk-gib", "0.001"))
    assert err.startswith(
        "run_study: --disk-gib: must hold the checkpoints and predictions of the trials that run at a time"
    )
    assert err.endswith("GiB, got 0.001\n")
    assert len(err.splitlines()) == 1
    assert folder is None, "a refused study leaves nothing"
