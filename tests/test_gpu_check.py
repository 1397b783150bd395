"""The command for a GPU, without one: rehearsed on the CPU, cut, and killed."""

import os
import signal
import subprocess
import sys
import time

import gpu_check
import psutil
import pytest
import torch
from gpu_check import INSTALL, STEPS, Note, Step, run_all
from gpu_steps.installing import install
from whole_studies import ROOT, wait_until

SCRIPT = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py")]


def python(title, code, limit_s=60.0):
    return Step(title, (sys.executable, "-c", code), limit_s)


def states(note):
    """By step: how it ended, as the table says it."""
    first_table = note.read_text().split("|---|---|---|---|\n")[1].split("\n\n")[0]
    rows = [line.split("|") for line in first_table.strip().splitlines()]
    return {cells[1].strip(): cells[2].strip() for cells in rows}


def test_a_step_that_hangs_is_cut_with_what_it_started_and_the_note_says_so(tmp_path):
    begins = (
        "import subprocess, time; print('begun', subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    )
    steps = [python("hangs", begins, 2), python("after it", "print('still here')")]
    note, started = tmp_path / "note.md", time.monotonic()
    assert run_all(steps, Note(note, steps, "# Title"), within_s=60) == 1
    assert time.monotonic() - started < 30
    assert states(note) == {"hangs": "**cut** after 2 s", "after it": "done"}
    text = note.read_text()
    assert "begun" in text
    assert "still here" in text
    pid = int(text.split("begun")[1].split()[0])
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_what_a_step_leaves_running_is_ended_with_it_though_the_step_has_ended_by_itself(tmp_path):
    # As Ray's processes: in the session of who started them, in a group of their own, and children of nobody here.
    leaves = """
import os, subprocess
left = subprocess.Popen(["sleep", "60"], preexec_fn=os.setpgrp)
print("left", left.pid, flush=True)
os._exit(0)
"""
    steps = [python("leaves", leaves)]
    note = tmp_path / "note.md"
    assert run_all(steps, Note(note, steps, "# Title"), within_s=60) == 0
    pid = int(note.read_text().split("left")[1].split()[0])
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_step_that_hangs_says_where_before_it_is_cut(tmp_path):
    hangs = """
import time
from gpu_steps.saying import asked
def waits_for_ever():
    time.sleep(60)
asked("A step.")
waits_for_ever()
"""
    steps = [python("hangs", hangs, 12)]
    note = tmp_path / "note.md"
    assert run_all(steps, Note(note, steps, "# Title"), within_s=60) == 1
    assert states(note) == {"hangs": "**cut** after 12 s"}
    assert "in waits_for_ever" in note.read_text()


def test_a_step_that_fails_leaves_its_last_words_and_the_others_run(tmp_path):
    steps = [python("fails", "raise SystemExit('no such kernel')"), python("works", "print('fine')")]
    note = tmp_path / "note.md"
    assert run_all(steps, Note(note, steps, "# Title"), within_s=60) == 1
    assert states(note) == {"fails": "**failed** (status 1)", "works": "done"}
    assert "no such kernel" in note.read_text()


def test_what_time_is_not_left_for_is_said(tmp_path):
    steps = [python("long", "import time; time.sleep(60)", 60), python("never", "print('no')")]
    note = tmp_path / "note.md"
    assert run_all(steps, Note(note, steps, "# Title"), within_s=1) == 1
    assert states(note) == {"long": "**cut** after 1 s", "never": "**not run**: 1 s were over"}


def test_a_note_is_whole_whenever_the_command_is_killed(tmp_path):
    note = tmp_path / "note.md"
    code = f"""
import sys
from pathlib import Path
from gpu_check import Note, Step, run_all
steps = [Step(f"step {{i}}", (sys.executable, "-c", "print('x' * 10**6)"), 60) for i in range(2)]
steps.append(Step("sleeps", (sys.executable, "-c", "import time; time.sleep(60)"), 60))
run_all(steps, Note(Path({str(note)!r}), steps, "# Title"), 600)
"""
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **paths}, stdout=subprocess.DEVNULL)
    wait_until(lambda: note.exists() and states(note).get("sleeps") == "running", process)
    wait_until(psutil.Process(process.pid).children, process)  # which is said before it starts
    (sleeper,) = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.wait()
    sleeper.kill()
    assert states(note) == {"step 0": "done", "step 1": "done", "sleeps": "running"}
    assert note.read_text().count("x" * 10**6) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["note.md"]


def test_a_note_that_cannot_be_written_whole_leaves_the_one_before(tmp_path, monkeypatch):
    steps = [python("one", "pass")]
    note = Note(tmp_path / "note.md", steps, "# Title")
    note.keep(steps[0], gpu_check.Done("done"))
    before = note.path.read_text()
    monkeypatch.setattr(Note, "_text", lambda self: "\udc80")  # no UTF-8: ends in the middle of writing
    with pytest.raises(UnicodeEncodeError):
        note.keep(steps[0], gpu_check.Done("failed"))
    assert note.path.read_text() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_what_is_missing(tmp_path):
    done = subprocess.run([*SCRIPT, "--note", str(tmp_path / "note.md")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gpu_check: PyTorch sees no CUDA device here")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_has_no_folder_is_refused_before_anything_runs(tmp_path):
    words = [*SCRIPT, "--rehearse", "--note", str(tmp_path / "nowhere" / "note.md")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"gpu_check: --note: must be in a folder that is there, got {tmp_path}/nowhere/note.md\n"


def test_a_note_goes_to_the_results_which_are_no_part_of_the_project(tmp_path, monkeypatch):
    """In benchmarks/ it would be a change of the checkout, and fail the test that asks for a link to every note."""
    monkeypatch.setattr(gpu_check, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(gpu_check, "STEPS", [python("one", "pass")])
    monkeypatch.setattr(gpu_check, "gpu_here", lambda: None)
    monkeypatch.setattr(sys, "argv", ["gpu_check"])
    assert gpu_check.main() == 2
    assert list(tmp_path.iterdir()) == [], "a refused one leaves nothing"
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--rehearse"])
    assert gpu_check.main() == 0
    assert states(tmp_path / "results" / "gpu_rehearsal.md") == {"one": "done"}


def test_the_command_needs_nothing_but_python_until_it_has_installed_the_rest():
    paths = [str(ROOT), str(ROOT / "benchmarks")]
    code = f"import sys; sys.path[:0] = {paths}; import gpu_check; print(len(gpu_check.STEPS))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (str(len(STEPS)), "")


def test_an_install_that_fails_or_hangs_says_what_it_said(tmp_path):
    words = [[sys.executable, "-c", "print('no such wheel'); raise SystemExit(3)"], ["never", "run"]]
    done = install(words, 60)
    assert done.state == "**failed** (status 3)"
    assert "no such wheel" in done.said
    assert install([[sys.executable, "-c", "import time; time.sleep(60)"]], 1).state == "**cut** after 1 s"


def test_an_install_that_fails_is_the_first_row_and_nothing_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "commands", lambda folder: [[sys.executable, "-c", "raise SystemExit('no wheel')"]])
    note = tmp_path / "note.md"
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--install", "--note", str(note)])
    assert gpu_check.main() == 1
    wanted = {INSTALL.title: "**failed** (status 1)", **{step.title: "not run" for step in STEPS}}
    assert states(note) == wanted
    assert "no wheel" in note.read_text()


def test_what_was_installed_runs_the_steps_in_the_time_that_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "commands", lambda folder: [[sys.executable, "-c", "import time; time.sleep(1)"]])
    monkeypatch.setattr(gpu_check, "python_in", lambda folder: sys.executable)
    note = tmp_path / "note.md"
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--install", "--rehearse", "--within", "3", "--note", str(note)])
    assert gpu_check.main() == 1
    first, doctor, *others = states(note).items()
    assert first == (INSTALL.title, "done")
    assert doctor[1] in {"**cut** after 1 s", "**cut** after 2 s"}
    assert all(state.startswith("**not run**: ") for _, state in others)
    assert "gpu_check.py --install --rehearse`" in note.read_text()


def test_no_two_steps_have_one_row():
    assert len({step.title for step in STEPS}) == len(STEPS)


@pytest.mark.slow
def test_every_step_can_be_rehearsed(tmp_path):
    note = tmp_path / "note.md"
    done = subprocess.run([*SCRIPT, "--rehearse", "--note", str(note)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, note.read_text()
    assert states(note) == {step.title: "done" for step in STEPS}
    text = note.read_text()
    assert "a rehearsal on the CPU" in text
    assert "DOES NOT HOLD" not in text
    assert text.count("- holds: ") >= 12
