"""What a Tune trial's process brings in; the rest is tested with Ray running, in whole studies."""

import gc
import subprocess
import sys
import weakref
from contextlib import contextmanager, suppress

import pytest
import torch
from measuring.setups import RESNET_8, trial_of

from dks_study.engine import cell
from dks_study.engine.group import GROUPS


class Folder:
    """A trial's place, as far as `run_cell` asks for it."""

    def __init__(self, path):
        self.path, self.outcomes = path, []

    @contextmanager
    def opened(self, writer):
        yield self.path, lambda: None

    def delete(self, name):
        pass

    def has(self, name):
        return False

    def end(self, outcome):
        self.outcomes.append(outcome.status)


class Data:
    def check_here(self):
        pass


class Network(torch.nn.Module):
    """One that refers to itself, as networks with hooks do."""

    def __init__(self):
        super().__init__()
        self.itself = [self]


def fails(network):
    try:
        raise ValueError("a first error, with the network at hand")
    except ValueError:
        raise RuntimeError("and another one on its way out")  # noqa: B904


def finds_no_memory(network):
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("ends", [lambda network: None, fails, finds_no_memory], ids=["well", "fails", "no memory"])
def test_a_network_is_gone_when_its_trial_has_ended_however_it_does(ends, tmp_path, monkeypatch):
    alive, kept, frozen = [], [], []
    cell._keep_what_is_imported.cache_clear()

    def run_trial(*_):
        network = Network()
        alive.append(weakref.ref(network))
        ends(network)

    monkeypatch.setattr(cell, "run_trial", run_trial)
    monkeypatch.setattr(cell, "check_node", lambda *_: None)
    monkeypatch.setattr(cell.tune, "report", lambda metrics: None)
    place, given_back = Folder(tmp_path), []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append([each() for each in alive]))
    trial = trial_of(RESNET_8, resources={"workers": 0, "gpus_per_worker": 1})
    config = {"trial": trial.model_dump_json(), "place": place, "code": "", "watch": None}
    config |= {"limit_s": None, "keep_predictions": "none"}
    gc.disable()  # it would come by chance
    try:
        for _ in range(2):
            with suppress(RuntimeError):
                try:
                    cell.run_cell({**config, GROUPS: None}, Data())
                except RuntimeError as error:
                    kept.append(error)  # as who shows it may do
                    raise
            assert [each() for each in alive] == [None] * len(alive)
            frozen.append(gc.get_freeze_count())
    finally:
        gc.enable()
        gc.unfreeze()
    assert frozen[0] == frozen[1] > 10_000, "once: what is imported is not looked through after every trial"
    assert given_back == [[None], [None, None]], "the GPU's memory is given back when nothing holds it"
    assert len(kept) == (2 if ends is fails else 0)
    assert place.outcomes == (["out_of_memory"] * 2 if ends is finds_no_memory else [])


def test_a_trial_s_process_imports_nothing_that_takes_seconds_and_is_not_needed():
    check = "import sys, dks_study.engine.cell; print(*sorted({'torchvision', 'sklearn', 'optuna'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
