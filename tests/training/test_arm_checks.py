"""Networks are built without memory before a study starts anything."""

import subprocess
import sys

import pytest
import torch
from studies import small_study

from dks_study.method.networks import build_network
from dks_study.spec.study import arm_run
from dks_study.training.arm_checks import StudyError, check_arms, hollow_network
from dks_study.training.data import load


@pytest.fixture(scope="module")
def run():
    return arm_run(small_study(), "dense", {})


def test_a_hollow_network_is_the_real_one_without_memory(run):
    data = load(run.data)
    hollow = hollow_network("dense", run, data).state_dict()
    real = build_network(run, data.image_shape[0], data.classes, 0, data.image_shape[1:]).state_dict()
    assert all(tensor.is_meta for tensor in hollow.values())
    assert {name: (t.shape, t.dtype) for name, t in hollow.items()} == {n: (t.shape, t.dtype) for n, t in real.items()}


def test_a_checkpoint_has_the_weights_and_the_optimiser_s_momentum(run):
    data = load(run.data)
    real = build_network(run, data.image_shape[0], data.classes, 0, data.image_shape[1:]).state_dict()
    assert check_arms(small_study())["dense"] == 2 * sum(tensor.nbytes for tensor in real.values())


def test_what_has_memory_is_drawn_beside_it(run):
    hollow_network("dense", run, load(run.data))
    assert torch.empty(100).normal_().std() > 0


def test_one_network_for_all_trials_is_refused():
    """A trial would begin with what another has learnt."""
    with pytest.raises(StudyError, match="must make a new network at every call, got the same of 'own_networks:alw"):
        check_arms(small_study(backbone={"name": "own_networks:always_one"}, branches={"taps": []}))


@pytest.mark.slow
def test_pytorch_s_compiler_is_not_imported_for_it():
    code = (
        "import sys; sys.path.append('tests/helpers'); from studies import small_study\n"
        "from dks_study.training.arm_checks import check_arms\n"
        "check_arms(small_study()); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, "it takes 1.5 s"
