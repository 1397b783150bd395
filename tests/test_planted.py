"""Faults planted where the default tests look, one at a time in a copy of the tree: none may survive them."""

import io
import multiprocessing
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

ROOT = Path(__file__).resolve().parent.parent
COPIES = 2  # that are tested at a time
# What the tests of a fault import and is not ours: once, by the process from which theirs are forked.
SHARED = ["optuna", "pandas", "pydantic", "scipy.stats", "sklearn.model_selection", "torch._dynamo"]


@dataclass(frozen=True)
class Fault:
    """`old` in a file of dks_study becomes `new`; some of `tests` must fail."""

    file: str
    old: str
    new: str
    tests: str


FAULTS: Mapping[str, Fault] = {
    "the student teaches the teacher": Fault(
        "method/synergy.py",
        "(own.detach() if detach_teacher else own) - cross",
        "(own.detach() if detach_teacher else own) - cross.T",
        "method/test_synergy.py",
    ),
    "a GPU may round the products of the loss": Fault(
        "method/synergy.py", 'if first.device.type == "cpu":', "if first.ndim:", "method/test_exact_products.py"
    ),
    "an ended trial's network stays": Fault(
        "engine/cell.py", "            give_back_memory(own_device", "            (own_device", "engine/test_cell.py"
    ),
    "an error keeps its trial's network": Fault(
        "engine/cell.py", "        _let_go(error)\n", "", "engine/test_cell.py"
    ),
    "the temperature is left out of the teacher": Fault(
        "method/synergy.py", "exact / temperature, dim", "exact * temperature, dim", "method/test_synergy.py"
    ),
    "weights by direction are swapped": Fault(
        "method/synergy.py",
        "loss.top_down_weight if t > s else",
        "loss.top_down_weight if t < s else",
        "method/test_synergy.py",
    ),
    "top-down teaches upwards": Fault(
        "spec/pairing.py",
        '"top_down": lambda t, s, k: t > s',
        '"top_down": lambda t, s, k: t < s',
        "spec/test_pairing.py",
    ),
    "a search learns from trials of its own group": Fault(
        "study/planner.py",
        "return index - index % self._study.search.parallel",
        "return index",
        "study/test_planner.py",
    ),
    "what is worse is confirmed": Fault(
        "spec/objectives.py", "v if MAXIMISED[name] else -v", "-v if MAXIMISED[name] else v", "study/test_planner.py"
    ),
    "the validation split is not stratified": Fault(
        "training/data/splits.py", "stratify=labels.numpy()", "stratify=None", "training/test_data.py"
    ),
    "a wrong label may be the right one": Fault(
        "training/data/noise.py", "torch.randint(1, classes", "torch.randint(0, classes", "training/test_data.py"
    ),
    "a branch changes what the backbone starts from": Fault(
        "method/streams.py",
        "json.dumps([seed, *name])",
        "json.dumps([seed])",
        "training/test_data.py method/test_streams.py",
    ),
    "every p-value is multiplied by their number": Fault(
        "analysis/statistics/paired.py",
        "(len(order) - at) * p_values[i]",
        "len(order) * p_values[i]",
        "analysis/test_stats.py",
    ),
    "the checkpoint of any trial will do": Fault(
        "training/checkpoint.py", "state if state.trial_hash == trial_hash else None", "state", "study/test_trial.py"
    ),
    "an epoch is trained twice after a crash": Fault(
        "training/trainer.py", "range(resume.epoch + 1 if", "range(resume.epoch if", "study/test_trial.py"
    ),
    "a search looks at the test set": Fault(
        "training/trainer.py",
        'if trial.phase == "confirm":\n            chosen = ',
        "if True:\n            chosen = ",
        "training/test_trainer.py::test_the_test_set_is_opened_once_by_confirmation_alone",
    ),
    "a milestone comes a step late": Fault(
        "training/optim.py", "milestone <= progress", "milestone < progress", "training/test_optim.py"
    ),
    "batch norm decays": Fault(
        "training/optim.py", "parameter.ndim >= 2 else", "parameter.ndim >= 1 else", "training/test_optim.py"
    ),
    "the ensemble holds the peers too": Fault(
        "training/metrics.py", "stacked[-self._own :]", "stacked[: self._own]", "training/test_metrics.py"
    ),
    "half a line stays in the ledger": Fault(
        "study/ledger.py", "            if size < path.stat().st_size:", "            if False:", "study/test_ledger.py"
    ),
    "what ships is what was trained, not its average": Fault(
        "training/checkpoint.py",
        "return self.network if self.averaged is None else self.averaged",
        "return self.network",
        "study/test_export.py training/test_averaging.py",
    ),
    "images are exported without their standard deviation": Fault(
        "study/export.py", "return (images / 255 - mean) / std", "return images / 255 - mean", "study/test_export.py"
    ),
    "a page of a study that runs has the test errors of its trials": Fault(
        "watch/live/snapshot.py", "100 - row[ACCURACY])", '100 - row["test/top1/main"])', "watch/live/test_snapshot.py"
    ),
    "it is drawn every hour": Fault(
        "watch/live/drawing.py", "EVERY_S = 30.0", "EVERY_S = 3600.0", "watch/live/test_drawing.py"
    ),
    "a host that begins as this machine is this machine": Fault(
        "watch/live/server.py", "_THIS_MACHINE.fullmatch(", "_THIS_MACHINE.match(", "watch/live/test_server.py"
    ),
}


def copied(folder):
    """Copy what the tests need."""
    for part in ("dks_study", "tests", "search_spaces", "benchmarks"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "run_study.py"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def outcome_of(folder, tests):
    """Return pytest's exit status (1: a test failed) and what it said; the package is the one in `folder`."""
    os.chdir(folder)
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        words = [f"tests/{word}" for word in tests.split()]
        status = pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *words])
    return int(status), said.getvalue()[-4000:]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """By fault: pytest's exit status and what it said. Without a fault all of the tests pass."""
    copies = SimpleQueue()
    for number in range(COPIES):
        copies.put(copied(tmp_path_factory.mktemp(f"copy{number}")))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", *SHARED])

    def verdict(fault):
        folder = copies.get()
        path = folder / "dks_study" / fault.file
        text = path.read_text()
        path.write_text(text.replace(fault.old, fault.new))
        try:
            return processes.submit(outcome_of, folder, fault.tests).result()
        finally:
            path.write_text(text)
            copies.put(folder)

    sound = Fault("__init__.py", "", "", " ".join(sorted({fault.tests for fault in FAULTS.values()})))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with (
            ProcessPoolExecutor(COPIES, context, max_tasks_per_child=1) as processes,  # no process tests two faults
            ThreadPoolExecutor(COPIES) as pool,
        ):
            (status, said), *found = pool.map(verdict, [sound, *FAULTS.values()])
    assert status == 0, said
    return dict(zip(FAULTS, found, strict=True))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_planted_where_its_text_stands_once(name):
    fault = FAULTS[name]
    assert (ROOT / "dks_study" / fault.file).read_text().count(fault.old) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_survives_its_tests(verdicts, name):
    status, said = verdicts[name]
    assert status == 1, said
