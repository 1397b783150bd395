"""What optuna-dashboard sees: read back with Optuna itself, after every kind of ending and of damage."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from studies import small_study

from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome, Record
from dks_study.watch.mirror import JOURNAL, Mirror, MirrorError, open_storage

STUDY = small_study(trials=4)
ENDS = [
    Outcome("complete", {ACCURACY: 60.0}, None, [50.0, 60.0]),
    Outcome("stopped", {ACCURACY: 40.0}, "after epoch 1: 40, the bar is 50", [40.0]),
    Outcome("diverged", {}, "not finite", []),
]
RECORDS = [
    Record(Cell("dense", "search", i, 99, 2, {"optimiser.lr": 0.05 + i / 100}), outcome, "h", "now")
    for i, outcome in enumerate(ENDS)
]
RUNNING = Cell("dense", "search", 3, 99, 2, {"optimiser.lr": 0.09})


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "small-abc"
    path.mkdir()
    return path


def told(folder, url=None, records=RECORDS):
    """Play a session in which the records end and one trial is left running."""
    notes = []
    mirror = Mirror(STUDY, folder, url, notes.append)
    mirror.restore([])
    for record in records:
        mirror.started(record.cell)
        for epoch, value in enumerate(record.outcome.steps, start=1):
            mirror.epoch(record.cell, {"epoch": epoch, ACCURACY: value})
        mirror.settled(record.cell, record.outcome)
    mirror.started(RUNNING)
    assert notes == []


def read(folder, url=None, arm="dense"):
    study = optuna.load_study(study_name=f"{folder.name}/{arm}", storage=open_storage(url, folder))
    return [(t.number, t.user_attrs["trial"], t.state, t.params, t.intermediate_values) for t in study.trials]


EXPECTED = [
    (0, "dense-search-0", TrialState.COMPLETE, {"optimiser.lr": 0.05}, {1: 50.0, 2: 60.0}),
    (1, "dense-search-1", TrialState.PRUNED, {"optimiser.lr": 0.060000000000000005}, {1: 40.0}),
    (2, "dense-search-2", TrialState.FAIL, {"optimiser.lr": 0.07}, {}),
    (3, "dense-search-3", TrialState.RUNNING, {"optimiser.lr": 0.09}, {}),
]


def check(folder, url=None):
    assert read(folder, url) == EXPECTED
    assert read(folder, url, "ds") == []
    study = optuna.load_study(study_name=f"{folder.name}/dense", storage=open_storage(url, folder))
    assert study.best_value == 60.0
    assert study.trials[1].user_attrs["error"] == "after epoch 1: 40, the bar is 50"


def test_a_search_can_be_read_while_it_runs(folder):
    told(folder)
    check(folder)


def restored(folder, records=RECORDS):
    Mirror(STUDY, folder, None, pytest.fail).restore(records)
    return read(folder)


def test_what_is_lost_is_written_again_from_the_ledger(folder):
    assert restored(folder) == EXPECTED[:3], "from nothing"
    (folder / JOURNAL).write_bytes(b"\x00 junk\n" + (folder / JOURNAL).read_bytes())
    assert restored(folder) == EXPECTED[:3], "from a damaged file"
    (folder / JOURNAL).write_bytes((folder / JOURNAL).read_bytes()[:-20])
    assert [state[2] for state in restored(folder)] == [state[2] for state in EXPECTED[:3]], "a line cut in half"


def test_a_running_trial_is_kept_and_ended_when_it_ends(folder):
    told(folder)
    assert restored(folder) == EXPECTED
    end = Record(RUNNING, Outcome("complete", {ACCURACY: 61.0}, None, [61.0]), "h", "now")
    assert restored(folder, [*RECORDS, end])[3][2:] == (TrialState.COMPLETE, {"optimiser.lr": 0.09}, {1: 61.0})


def test_what_contradicts_the_ledger_gives_way(folder):
    told(folder)
    other = [Record(Cell("dense", "search", 0, 99, 2, {"optimiser.lr": 0.1}), ENDS[0], "h", "now")]
    assert [(row[1], row[3]) for row in restored(folder, other)] == [("dense-search-0", {"optimiser.lr": 0.1})]


def test_a_storage_that_fails_later_is_told_once_and_left_alone(folder, monkeypatch):
    notes = []
    mirror = Mirror(STUDY, folder, None, notes.append)
    mirror.restore([])

    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(type(mirror._storage), "create_new_trial", fail)
    mirror.started(RUNNING)
    mirror.settled(RUNNING, ENDS[0])
    assert len(notes) == 1
    assert "no space left on device" in notes[0]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("somewhere", "must be a database's URL such as postgresql://host/name, got 'somewhere'"),
        ("nosuch://user:secret@host/name", "nosuch://user:***@host/name: "),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
        (
            "postgresql+psycopg://user:secret@host/name",
            "(pip install psycopg2-binary, and write postgresql+psycopg2://)",
        ),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_in_one_line(folder, url, message):
    with pytest.raises(MirrorError) as caught:
        open_storage(url, folder)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_holds_the_same(folder):
    url = f"sqlite:///{folder}/search.db"
    told(folder, url)
    check(folder, url)
    assert not (folder / JOURNAL).exists()


def _postgres_programs():
    if path := shutil.which("initdb"):
        return Path(path).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture
def postgres():
    """Return the URL of a database in a cluster that lives for one test; postgres refuses to be run by root."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    pytest.importorskip("psycopg2", reason="the driver is not installed (psycopg2-binary)")
    who = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if who and subprocess.run([*who, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this is root, whom PostgreSQL refuses, and there is no user postgres")
    home = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path must be short, and open to the user postgres
    home.chmod(0o777)
    data, sockets = home / "data", home

    def call(*words):
        subprocess.run([*who, *map(str, words)], check=True, capture_output=True, cwd=home)

    call(programs / "initdb", "-D", data, "-A", "trust", "-U", "tester")
    options = f"-c listen_addresses='' -k {sockets} -c fsync=off"
    call(programs / "pg_ctl", "-D", data, "-w", "-o", options, "-l", home / "log", "start")
    try:
        yield f"postgresql+psycopg2://tester@/postgres?host={sockets}"
    finally:
        call(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
        call("rm", "-rf", data)
        shutil.rmtree(home)


@pytest.mark.slow
def test_postgresql_holds_the_same_and_goes_on(folder, postgres):
    told(folder, postgres)
    check(folder, postgres)
    mirror = Mirror(STUDY, folder, postgres, pytest.fail)
    mirror.restore(RECORDS)
    mirror.settled(RUNNING, ENDS[0])
    assert read(folder, postgres)[3][2] is TrialState.COMPLETE
    assert read(folder, postgres)[:3] == EXPECTED[:3]


def test_what_happens_together_is_written_at_the_end(folder):
    notes = []
    mirror = Mirror(STUDY, folder, None, notes.append)
    mirror.restore(RECORDS[:1])
    before = (folder / JOURNAL).read_bytes()
    with mirror.together():
        mirror.settled(RECORDS[1].cell, RECORDS[1].outcome)
        mirror.started(RECORDS[2].cell)
        mirror.settled(RECORDS[2].cell, RECORDS[2].outcome)
        assert (folder / JOURNAL).read_bytes() == before
    assert (folder / JOURNAL).read_bytes().startswith(before)
    assert read(folder) == EXPECTED[:3]
    mirror.started(RUNNING)
    assert read(folder) == EXPECTED
    assert notes == []


def test_what_fails_meanwhile_is_raised_and_what_came_before_is_kept(folder):
    notes = []
    mirror = Mirror(STUDY, folder, None, notes.append)
    mirror.restore([])

    def adopt():
        with mirror.together():
            mirror.settled(RECORDS[0].cell, RECORDS[0].outcome)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        adopt()
    assert read(folder) == EXPECTED[:1]
    assert notes == []


def test_a_journal_that_cannot_be_written_at_the_end_takes_nothing_with_it(folder):
    notes = []
    mirror = Mirror(STUDY, folder, None, notes.append)
    mirror.restore([])
    with mirror.together():
        mirror.settled(RECORDS[0].cell, RECORDS[0].outcome)
        shutil.rmtree(folder)
    mirror.settled(RECORDS[1].cell, RECORDS[1].outcome)
    assert len(notes) == 1
    assert "Optuna's storage cannot be written" in notes[0]


def test_a_database_that_somebody_else_has_locked_is_refused_in_one_line(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "shown.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(MirrorError, match=r"^--optuna-storage sqlite:///.*locked") as caught:
            open_storage(f"sqlite:///{tmp_path / 'shown.db'}?timeout=0.01", tmp_path)
    assert len(str(caught.value).splitlines()) == 1
