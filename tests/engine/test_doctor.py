"""What a machine has and what works on it, as dks-study doctor says it."""

import os
import subprocess
import sys

import pytest
from whole_studies import ROOT

from dks_study import cli
from dks_study.engine import doctor
from dks_study.spec.base import Problem


def doctor_says(folder, *options, **environment):
    """Return exit status, lines by subject, and the problems."""
    words = [sys.executable, str(ROOT / "run_study.py"), "doctor", *options]
    more = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment}
    done = subprocess.run(words, cwd=folder, env=more, capture_output=True, text=True, timeout=300, check=False)
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    return done.returncode, {subject: text for subject, text in lines if subject}, done.stderr.splitlines()


@pytest.mark.slow
def test_a_machine_that_can_run_a_study_is_told_so(tmp_path):
    status, lines, problems = doctor_says(tmp_path)
    assert (status, problems) == (0, [])
    cores = len(os.sched_getaffinity(0))
    assert f"{cores} cores" in lines["machine"]
    assert "takes training steps; compute.precision: float32" in lines["cpu"]
    assert "starts in" in lines["Ray"]
    assert lines["results"].startswith(f"{tmp_path}: can be written")
    assert list(tmp_path.iterdir()) == [], "it leaves nothing"


@pytest.mark.slow
def test_each_thing_that_is_broken_is_told_in_a_line_and_the_rest_is_looked_at(tmp_path):
    status, lines, problems = doctor_says(tmp_path, "--results", "/proc/results", TMPDIR="/proc")
    assert status == 2
    assert len(problems) == 2, problems
    assert problems[0].startswith("dks-study doctor: --results: must be a folder that can be written, got /proc (")
    assert "Ray cannot start here: TMPDIR: /proc/ray" in problems[1]
    assert lines["results"] == lines["Ray"] == "does not work"
    assert "takes training steps; compute.precision: float32" in lines["cpu"]


def test_a_training_step_is_really_tried_in_every_format():
    assert doctor._training("cpu") == "takes training steps; compute.precision: float32, bfloat16, float16"


def test_a_training_step_whose_loss_is_not_finite_is_a_problem(monkeypatch):
    monkeypatch.setattr("torch.nn.functional.cross_entropy", lambda logits, _: logits.sum() * float("nan"))
    with pytest.raises(Problem, match="cpu: a training step in float32 must have a finite loss, got nan"):
        doctor.train_step("cpu", "float32")


def test_a_device_that_is_not_there_is_a_problem_and_no_traceback():
    found = doctor.Findings()
    assert not found.attempt("cuda:9", lambda: doctor._training("cuda:9"))
    (problem,) = found.problems
    assert problem.startswith("cuda:9: ")
    assert found.lines == [("cuda:9", "does not work")]


def test_what_is_chosen_follows_from_cores_and_gpus():
    found = doctor.Findings()
    doctor._tell_choice(found, {"CPU": 16, "GPU": 1})
    told = [text for _, text in found.lines]
    assert told[0].endswith("16 trials at a time, in float32, channels_last")
    assert told[1].endswith("gpus_per_worker=1: one trial at a time, in tf32, channels_last")
    assert told[2].endswith("gpus_per_worker=0.5: 2 trials at a time, in tf32, channels_last")


def test_a_disk_without_room_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_FREE_GIB", 10**9)
    found = doctor.Findings()
    assert not found.attempt("results", lambda: doctor._writable("--results", tmp_path))
    assert "must have 1e+09 GiB free, got" in found.problems[0]


def test_an_unknown_option_is_one_line(capsys):
    assert cli.main(["doctor", "--frobnicate"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("\na\n  b\x1b[31m\n"), SystemExit("a\nb\x1b[31m"), Problem("a\nb\x1b[31m")]
)
def test_a_problem_is_one_line_whatever_a_library_says(error):
    def broken():
        raise error

    found = doctor.Findings()
    assert not found.attempt("Ray", broken)
    (problem,) = found.problems
    assert problem.endswith("a b\\x1b[31m")
    assert problem.isprintable()
