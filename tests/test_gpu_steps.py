"""The steps of the command for a GPU, without one: what is said, what is judged, what one failure leaves alone."""

import gc
import sys
import weakref
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from gpu_steps import agreement, doctoring, feeding, precision, resuming, seeds, studies
from gpu_steps.commands import Ended, run_command
from gpu_steps.networks import CASES, SMALL
from gpu_steps.running import UNTIL
from gpu_steps.saying import Table, Verdicts
from measuring.on_device import forget_peak

from dks_study.method import synergy
from dks_study.spec.compute import ComputeSpec

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def process_as_it_was():
    """Steps, which have processes of their own, set how theirs rounds on GPUs and whether it is deterministic."""
    parts = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [part.allow_tf32 for part in parts]
    strict, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    yield
    torch.use_deterministic_algorithms(strict, warn_only=warn_only)
    for part, as_it_was in zip(parts, before, strict=True):
        part.allow_tf32 = as_it_was


class Held:
    """Something that refers to itself, as a network does."""

    alive: ClassVar[weakref.WeakSet["Held"]] = weakref.WeakSet()

    def __init__(self, *_):
        self.itself = [self]
        Held.alive.add(self)

    def step(self):
        pass


@pytest.fixture
def no_gc():
    Held.alive.clear()
    gc.disable()  # it would come by chance
    yield
    gc.enable()


def fails():
    raise RuntimeError("no kernel | for this\nand more")


def test_what_does_not_hold_or_raises_fails_a_step_at_its_end(capsys):
    verdicts = Verdicts()
    assert verdicts.attempt("nothing", lambda: None)
    assert verdicts.check(True, "one is one")
    with pytest.raises(SystemExit, match="0"):
        verdicts.end()
    assert not verdicts.attempt("something", fails)
    with pytest.raises(SystemExit, match="1"):
        verdicts.end()
    said = capsys.readouterr().out
    assert "holds: one is one" in said
    assert "- something: **RuntimeError** no kernel / for this\n" in said
    assert "in fails\n" in said, "its traceback"


def test_a_row_that_raises_leaves_its_traceback_and_the_table_goes_on_below_it(capsys):
    table = Table(Verdicts(), "what", "ms")
    assert table.attempt("first", lambda: ["1"])
    assert not table.attempt("second", fails)
    assert table.attempt("third", lambda: ["3"])
    assert table.attempt("fourth", lambda: ["4"])
    first, rest = capsys.readouterr().out.split("Its traceback:")
    header = "| what | ms |\n| --- | --- |\n"
    assert first == f"\n{header}| first | 1 |\n| second | **RuntimeError** no kernel / for this |\n\n"
    assert rest.partition("```\n\n")[2] == f"\n{header}| third | 3 |\n| fourth | 4 |\n"


def test_a_command_is_stopped_before_its_step_and_says_where_it_hung(monkeypatch, capsys):
    monkeypatch.setattr("gpu_steps.commands.left_s", lambda: 12.0)
    code = "import time  # dks_study\nprint('begun', flush=True)\ndef waits(): time.sleep(60)\nwaits()"
    ended = run_command([sys.executable, "-c", code])
    assert (ended.status, ended.said) == (None, "begun\n")
    said = capsys.readouterr().out
    assert "The command was stopped, as it took too long:\n\n```\nbegun\n```" in said
    assert "in waits" in said.partition("Where it hung")[2]


def test_a_command_that_leaves_something_running_is_not_waited_for(capsys):
    code = "import subprocess\nprint(subprocess.Popen(['sleep', '5']).pid)\nraise SystemExit(3)"
    ended = run_command([sys.executable, "-c", code])
    assert ended.status == 3
    assert f"ended with status 3:\n\n```\n{ended.said.strip()}\n```" in capsys.readouterr().out


def test_a_study_that_was_cut_shows_what_its_trials_left(tmp_path, monkeypatch, capsys):
    trial = tmp_path / "results" / "small" / "trials" / "dense-confirm-seed0"

    def cut(words):
        trial.mkdir(parents=True)
        (trial / "error.txt").write_text("RuntimeError: NCCL says no")
        (trial / "log.txt").write_text("2026-11-29T00:00:00+00:00 start after epoch 0 on 1 x cuda:0\n")
        return Ended(None, "")

    monkeypatch.setattr(studies, "run_command", cut)
    monkeypatch.setattr(studies.tempfile, "TemporaryDirectory", lambda **_: InPlace(tmp_path))
    monkeypatch.setattr(sys, "argv", ["studies", "--rehearse", "--kind", "group"])
    with pytest.raises(SystemExit, match="1"):
        studies.main()
    said = capsys.readouterr().out
    assert "**DOES NOT HOLD**: the study's command was stopped" in said
    assert "NCCL says no" in said
    assert "start after epoch 0 on 1 x cuda:0" in said


class InPlace:
    """A temporary directory that stays."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return str(self.path)

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize(("gpus", "failed"), [("1", 0), ("0", 1)])
def test_a_doctor_who_sees_a_gpu_that_ray_does_not_is_not_enough(gpus, failed, monkeypatch, capsys):
    said = f"cuda:0  takes training steps; compute.precision: float32\nRay  starts in 3 s, sees 16 CPUs and {gpus} GPUs"
    monkeypatch.setattr(doctoring, "run_command", lambda words: Ended(0, said))
    monkeypatch.setattr(sys, "argv", ["doctoring"])
    monkeypatch.delenv(UNTIL, raising=False)
    with pytest.raises(SystemExit, match=str(failed)):
        doctoring.main()
    assert said in capsys.readouterr().out


def test_a_network_that_was_measured_before_is_gone_when_the_peak_is_forgotten(no_gc):
    Held()
    assert len(Held.alive) == 1
    forget_peak(CPU)
    assert len(Held.alive) == 0


def test_the_peak_of_each_side_is_that_of_one_side_alone(no_gc, monkeypatch):
    there = []
    monkeypatch.setattr(seeds, "Together", Held)
    monkeypatch.setattr(seeds, "Apart", Held)
    monkeypatch.setattr(seeds, "peak_mib", lambda device: there.append(len(Held.alive)))
    monkeypatch.setattr(seeds, "seconds_on", lambda device, action, calls: 1.0)
    seeds.cells(replace(seeds.Seeds(None, 2, (1, 8, 8), 10), device=CPU))
    assert there == [1, 1]


def weights(value):
    return {"w": torch.tensor([float(value)])}, [{"epoch": 1.0}]


@pytest.mark.parametrize(("deterministic", "failed"), [(False, 0), (True, 1)])
def test_a_resume_is_judged_only_where_everything_is_to_be_equal(deterministic, failed, monkeypatch):
    results = iter([weights(1), weights(1), weights(1.5)])  # two whole runs agree by chance, the resumed one does not
    monkeypatch.setattr(resuming, "train", lambda *_, **__: None)
    monkeypatch.setattr(resuming, "result", lambda *_: next(results))
    verdicts = Verdicts()
    resuming.compare("float32", CPU, verdicts, deterministic=deterministic)
    assert verdicts.failed == failed


@pytest.mark.parametrize("name", resuming.FORMATS)
def test_what_is_resumed_on_a_gpu_can_be_described(name):
    assert resuming.described(name, torch.device("cuda")).computation.precision == name


def test_a_number_format_that_fails_is_not_the_end_of_the_others(monkeypatch):
    tried = []

    def compare(precision, device, verdicts, *, deterministic):
        tried.append((precision, deterministic))
        fails()

    monkeypatch.setattr(resuming, "compare", compare)
    monkeypatch.setattr(resuming, "device_of", lambda options: CPU)
    monkeypatch.setattr(sys, "argv", ["resuming"])
    monkeypatch.delenv(UNTIL, raising=False)
    with pytest.raises(SystemExit, match="1"):
        resuming.main()
    assert tried == [(name, how) for name in resuming.FORMATS for how in (False, True)]


def test_a_loss_whose_products_are_rounded_is_found_out(monkeypatch):
    verdicts = Verdicts()
    agreement.check_loss_alone(CPU, verdicts)
    assert verdicts.failed == 0
    exact = synergy._products

    def rounded(*sides):
        return exact(*(each.bfloat16().to(each.dtype) if each.dtype == torch.float32 else each for each in sides))

    monkeypatch.setattr(synergy, "_products", rounded)
    agreement.check_loss_alone(CPU, verdicts)
    assert verdicts.failed == 1


def test_what_is_chosen_where_nothing_is_said_is_measured_and_compiled():
    chosen = ComputeSpec().chosen(on_gpu=True)
    measured = [ComputeSpec(**way.compute).chosen(on_gpu=True) for way in (*precision.STEPS, *precision.COMPILED)]
    assert chosen in measured
    assert replace(chosen, compile=True) in measured


def test_a_side_that_fails_leaves_what_the_others_say(monkeypatch, capsys):
    whole = precision.builders

    def broken(*given):
        return {**whole(*given), "DKS": fails}

    monkeypatch.setattr(precision, "builders", broken)
    verdicts = Verdicts()
    table = Table(verdicts, "computed in", "what", "a step")
    precision.measure(SMALL["wrn"], precision.FULL[0], CPU, table, until=0.0)
    said = capsys.readouterr().out
    assert verdicts.failed == 1
    assert "| float32 | plain | first epoch" in said.partition("no kernel")[0]
    rows = [line for line in said.splitlines() if f"n {precision.LEAST_ROUNDS})" in line]
    assert [row.split(" | ")[1] for row in rows] == ["plain", "published"]


def test_more_epochs_are_measured_where_there_is_time(monkeypatch):
    now = iter(range(1000))
    monkeypatch.setattr(precision.time, "monotonic", lambda: float(next(now)))  # each look at the clock is a second
    for until, rounds in ((0.0, precision.LEAST_ROUNDS), (30.0, 14), (1e9, precision.MOST_ROUNDS)):
        now = iter(range(1000))
        found = precision.in_turn({"one": lambda: None, "other": lambda: None}, CPU, until)
        assert [len(values) for values in found.values()] == [rounds, rounds], until


@pytest.mark.parametrize(("mib", "processes"), [(64_000, 12), (200, 2), (64, 0)])
def test_no_more_processes_decode_than_shared_memory_has_room_for(mib, processes, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(feeding, "SHARED", tmp_path)
    monkeypatch.setattr(feeding.shutil, "disk_usage", lambda _: type("Usage", (), {"free": mib * 2**20}))
    assert feeding.decoding_processes(16, 128) == processes
    assert ("is small" in capsys.readouterr().out) == (processes < 12)


def test_pictures_are_there_under_several_names(tmp_path):
    feeding.write_pictures(tmp_path, count=2, copies=3)
    assert len(list(tmp_path.glob("train/ant/*.jpeg"))) == 6
    assert len(list(tmp_path.glob("val/ant/*.jpeg"))) == 2


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("plain", [True, False])
def test_the_real_networks_are_ones_that_can_be_described(name, plain):
    trial = CASES[name].trial(plain=plain, compute={"precision": "float16", "channels_last": True})
    assert len(trial.classifiers) == (1 if plain else 3)
    assert trial.optimiser.batch_size == CASES[name].batch
