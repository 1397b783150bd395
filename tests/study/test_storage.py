"""A study's home: what is copied, what a crash leaves, who may write, and whole studies on a real S3 server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from half_done import RUNNING, half_done, train
from studies import small_study
from whole_studies import TRIALS, finish, lasting, records, start, wait_for

from dks_study.engine.session import Where, running
from dks_study.spec.urls import shown
from dks_study.study.holder import BEAT_S
from dks_study.study.home import StorageError, home_of
from dks_study.study.storage import Files, Place
from dks_study.watch.live import reading


def files_of(tmp_path, storage="home"):
    folder = tmp_path / "results" / "study"
    folder.mkdir(parents=True, exist_ok=True)
    return Files(folder, home_of(str(tmp_path / storage), "study"))


def test_a_home_is_a_folder_of_files(tmp_path):
    home = home_of(str(tmp_path), "study")
    assert home.sizes() == {}
    assert home.read("ledger.jsonl") is None
    home.write("trials/a/last.pt", b"123")
    home.write("trials/a/last.pt", b"12")
    assert (home.read("trials/a/last.pt"), home.sizes()) == (b"12", {"trials/a/last.pt": 2})
    assert home.within("trials/a").sizes() == {"last.pt": 2}
    home.delete("trials/a/last.pt")
    home.delete("trials/a/last.pt")
    assert home.sizes() == {}


@pytest.mark.parametrize("url", ["s4://bucket/x", "s3://", "gs:/x", "file//x://y"])
def test_a_url_that_is_none_is_refused_in_one_line(url):
    with pytest.raises(StorageError, match=r"^--storage") as raised:
        home_of(url, "study").sizes()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["s3://KEY:SEC/RET+X@bucket/folder", "ftp://KEY:SEC/RET+X@b/f"])
def test_what_a_library_says_of_a_url_holds_no_key(url):
    with pytest.raises(StorageError, match=r"^--storage") as raised:
        home_of(url, "study").sizes()
    assert "RET" not in str(raised.value)
    assert str(raised.value).endswith("(a / in a key is written %2F)")


@pytest.mark.parametrize("storage", ["{}", "{}/../results", "file://{}"])
def test_a_home_is_another_folder_than_the_results(tmp_path, storage):
    folder = tmp_path / "results" / "small-1"
    folder.mkdir(parents=True)
    with (
        pytest.raises(StorageError, match=r"^--storage: must be another folder than --results, got "),
        running(small_study(), folder, None, Where(storage=storage.format(folder.parent))),
    ):
        pass
    assert list(folder.iterdir()) == []


def test_keys_and_options_of_a_url_are_not_shown():
    assert shown("s3://KEY:SECRET@bucket/folder?region=x&secret=SECRET") == "s3://bucket/folder"
    assert shown("/mnt/shared") == "/mnt/shared"
    home = home_of("s3://KEY:SECRET@bucket/folder?region=x", "study")
    assert home.url == "s3://KEY:SECRET@bucket/folder/study?region=x"


def place_of(tmp_path):
    return files_of(tmp_path).place("dense-confirm-seed0")


def test_a_process_that_goes_on_finds_what_was_pushed_and_nothing_else(tmp_path):
    place = place_of(tmp_path)
    with place.opened(writer=True) as (folder, push):
        (folder / "last.pt").write_text("epoch 1")
        (folder / "last.tmp").write_text("half")
        (folder / "lock").write_text("")
        push()
        assert place.home.read("last.pt") == b"epoch 1"
    assert not folder.exists(), "scratch goes"
    with place.opened(writer=True) as (again, push):
        assert {path.name for path in again.iterdir()} == {"last.pt"}
        (again / "last.pt").write_text("epoch 2")
    assert place.home.read("last.pt") == b"epoch 2", "what is there at the end is pushed, too"


def test_a_worker_that_outlived_its_study_writes_no_more(tmp_path):
    place = place_of(tmp_path)
    outlived = place.opened(writer=True)
    old, push = outlived.__enter__()
    with place.opened(writer=True) as (new, _):
        (new / "last.pt").write_text("new")
    (old / "last.pt").write_text("old")
    with pytest.raises(RuntimeError, match="another process"):
        push()
    with pytest.raises(RuntimeError, match="another process"):
        outlived.__exit__(None, None, None)
    assert place.home.read("last.pt") == b"new"


def test_other_workers_push_what_went_wrong_alone(tmp_path):
    place = place_of(tmp_path)
    with place.opened(writer=False) as (folder, _):
        for name in ("error.txt", "outcome.json", "log.txt", "last.pt"):
            (folder / name).write_text("x")
    assert set(place.home.sizes()) == {"error.txt"}


def test_the_results_folder_and_the_home_are_brought_to_the_longer_ledger(tmp_path):
    files = files_of(tmp_path)
    ledger = files.folder / "ledger.jsonl"
    ledger.write_text("1\n")
    files.restore()
    assert files.home.read("ledger.jsonl") == b"1\n"
    files.home.write("ledger.jsonl", b"1\n2\n")
    files.home.write("trials/a/outcome.json", b"{}")
    files.home.write("trials/a/last.pt", b"large")
    files.restore()
    assert ledger.read_text() == "1\n2\n"
    assert [path.name for path in files.trial("a").iterdir()] == ["outcome.json"], "checkpoints stay at home"
    ledger.write_text("1\n3\n")
    with pytest.raises(StorageError, match="has gone its own way"):
        files.restore()


def test_a_home_is_held_by_one_command(tmp_path):
    files = files_of(tmp_path)
    with files.held():
        holder = json.loads(files.home.read("holder.json"))
        assert holder["process"] == os.getpid()
    assert files.home.read("holder.json") is None
    elsewhere = {**holder, "host": "another-machine"}
    files.home.write("holder.json", json.dumps(elsewhere).encode())
    with pytest.raises(StorageError, match=rf"being run by process {os.getpid()} on another-machine"), files.held():
        pass
    files.home.write("holder.json", json.dumps({**elsewhere, "beat": time.time() - 4 * BEAT_S}).encode())
    with files.held():  # not heard of for long
        pass
    files.home.write("holder.json", json.dumps({**holder, "process": 2**22 + 1}).encode())
    with files.held():  # of this machine, and dead
        pass


def test_without_a_home_a_trial_writes_into_the_results_folder(tmp_path):
    place = Files(tmp_path, None).place("a")
    assert place == Place(str(tmp_path / "trials" / "a"), str(tmp_path / ".tune"), None)
    with place.opened(writer=True) as (folder, push):
        push()
    assert folder == tmp_path / "trials" / "a"


@pytest.fixture(scope="module")
def bucket():
    """The URL of a bucket on a real S3 server of this machine, with keys in it."""
    pytest.importorskip("moto", reason="moto is not installed: no S3 server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                put = urllib.request.Request(f"http://127.0.0.1:{port}/studies", method="PUT")
                urllib.request.urlopen(put, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail("the S3 server did not start")
        yield f"s3://KEY:HIDDEN@studies/ours?scheme=http&endpoint_override=127.0.0.1:{port}&region=us-east-1"
    finally:
        server.kill()
        server.wait()


def settled_at(storage, study):
    """Return how many trials the ledger in the bucket has: what is killed may have more in its own, for a moment."""
    return (home_of(storage, study).read("ledger.jsonl") or b"").count(b"\n")


@pytest.mark.slow
@pytest.mark.parametrize("trials", [1, 5], ids=["in_search", "in_confirmation"])
def test_a_study_killed_on_one_machine_goes_on_on_another_from_the_bucket_alone(
    space, uninterrupted, tmp_path, bucket, trials
):
    where = ("--storage", bucket.replace("/ours", f"/from{trials}"))
    process = start(space, tmp_path / "first", options=where)
    killed = wait_for(tmp_path / "first", lambda folder: settled_at(where[1], folder.name) >= trials, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    shutil.rmtree(tmp_path / "first")
    home_of(where[1], killed.name).pull(tmp_path / "left")
    settled = {record.cell.id: record.ended for record in records(tmp_path / "left")}
    assert 0 < len(settled) < TRIALS
    folder, out, err = finish(space, tmp_path / "second", options=where)
    assert err == ""
    assert "HIDDEN" not in out + (folder / "provenance.json").read_text()
    assert (folder / "table.md").read_bytes() == (uninterrupted[0] / "table.md").read_bytes()
    assert settled.items() <= {record.cell.id: record.ended for record in records(folder)}.items()
    assert lasting(folder) == lasting(uninterrupted[0])
    home = home_of(where[1], folder.name)
    assert home.read("table.md") == (folder / "table.md").read_bytes()
    kept = {Path(name).parent.name for name in home.sizes() if name.endswith(".pt")}
    rows = {(each.cell.arm, each.cell.choice) for each in records(folder) if each.cell.phase == "confirm"}
    assert len(kept) == len(rows), "a checkpoint for each row of the table"
    assert kept == {path.parent.name for path in folder.glob("trials/*/*.pt")}


@pytest.mark.slow
def test_groups_of_workers_train_in_scratch_folders_and_leave_their_files_in_the_bucket(space, tmp_path, bucket):
    small = ("search.trials=0", "report_seeds=[0]", "trial.epochs=2", "trial.resources.workers=2")
    folder, _, err = finish(space, tmp_path, *small, options=("--storage", bucket))
    assert err == ""
    assert [record.outcome.status for record in records(folder)] == ["complete"] * 2
    names = {Path(name).name for name in home_of(bucket, folder.name).within("trials/dense-confirm-seed0").sizes()}
    assert {"trial.json", "epochs.jsonl", "last.pt", "log.txt", "outcome.json"} <= names


@pytest.mark.slow
def test_trials_of_a_study_in_a_bucket_are_adopted_on_another_machine(space, uninterrupted, tmp_path, bucket):
    url = bucket.replace("/ours", "/given")
    given, _, _ = finish(space, tmp_path / "first", options=("--storage", url))
    shutil.rmtree(tmp_path / "first")
    folder, out, err = finish(space, tmp_path / "second", "table.title=Taken", options=("--reuse", url))
    assert f"{TRIALS} of {TRIALS} trials adopted from {given.name}" in out
    assert "HIDDEN" not in out + err
    table = (uninterrupted[0] / "table.md").read_text()
    assert (folder / "table.md").read_text().splitlines()[2:] == table.splitlines()[2:]


@pytest.mark.slow
def test_a_study_in_a_bucket_is_watched_there(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LEAST_AGE_S", 0.0)
    monkeypatch.setattr(reading, "MOST_OF_THE_TIME", 1e9)
    folder, where = half_done(tmp_path / "small-1"), bucket.replace("/ours", "/watched")
    (folder / "lock").unlink()
    train(folder)
    home = home_of(where, folder.name)
    for path in folder.rglob("*"):
        if path.is_file():
            home.push(folder, path.relative_to(folder).as_posix())

    def beat(at_s):
        holder = {"process": 7, "host": "far-away", "identity": None, "beat": at_s}
        home.write("holder.json", json.dumps(holder).encode())

    beat(1795843568.25)
    studies = reading.Studies(where)
    (seen,) = (seen for _, seen in studies.now().values())
    assert (seen.state, seen.curves[0].done) == ("stopped", 2)
    train(folder, epochs=3)
    home.push(folder, f"trials/{RUNNING.id}/epochs.jsonl")
    beat(float(f"{time.time():.0f}.25"))  # as many letters as before
    (seen,) = (seen for _, seen in studies.now().values())
    assert (seen.state, seen.curves[0].done) == ("running", 3)
