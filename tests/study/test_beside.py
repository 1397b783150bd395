"""A study says which others run on the machine; word of one that has ended misleads nobody."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dks_study.study.beside import announced
from dks_study.study.holder import lock_text

ROOT = Path(__file__).resolve().parents[2]
OTHER = """
import sys
from pathlib import Path
from dks_study.study.beside import announced
from dks_study.study.holder import lock_text
folder = Path(sys.argv[1])
(folder / "lock").write_text(lock_text())
with announced(folder, lambda text: print(text, flush=True)):
    print("runs", flush=True)
    sys.stdin.readline()
print("ended", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder of our own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def other(tmp_path, temporary):
    """A process that runs a study in another folder: (process, folder)."""
    folder = tmp_path / "other-1"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)], cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "runs\n"
    yield process, folder
    process.kill()
    process.communicate()


def notes(folder):
    folder.mkdir(exist_ok=True)
    (folder / "lock").write_text(lock_text())
    said = []
    with announced(folder, said.append):
        pass
    return said


def test_the_second_study_names_the_first_and_its_process(tmp_path, other):
    (said,) = notes(tmp_path / "mine-1")
    assert said.startswith(f"Note: {other[1]} runs on this machine too (process {other[0].pid} on ")
    assert said.endswith("): both plan with all CPUs, and share them.")
    assert notes(other[1]) == [], "it is not another one"


def test_a_study_that_has_ended_is_not_named_though_its_process_lives(tmp_path, other):
    other[0].stdin.write("\n")
    other[0].stdin.flush()
    assert other[0].stdout.readline() == "ended\n"
    assert notes(tmp_path / "mine-1") == []


def test_word_of_a_killed_study_is_taken_away(tmp_path, other, temporary):
    other[0].kill()
    other[0].wait()
    assert len(list(temporary.glob("*/*"))) == 1
    assert notes(tmp_path / "mine-1") == []
    assert list(temporary.glob("*/*")) == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, temporary):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (temporary / f"dks_study-{os.getuid()}").symlink_to(elsewhere)
    assert notes(tmp_path / "mine-1") == []
    (temporary / f"dks_study-{os.getuid()}").unlink()
    open_to_all = temporary / f"dks_study-{os.getuid()}"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    folder = tmp_path / "mine-2"
    folder.mkdir()
    with announced(folder, print):
        assert list(elsewhere.iterdir()) == list(open_to_all.iterdir()) == []


def test_a_temporary_folder_that_cannot_be_used_ends_nothing(tmp_path, temporary):
    temporary.rmdir()
    assert notes(tmp_path / "mine-1") == []
    temporary.write_text("a file")
    assert notes(tmp_path / "mine-1") == []
