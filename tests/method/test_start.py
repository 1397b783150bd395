"""The placebo of the network at its start: what is taught, by hand, and that a frozen network teaches it."""

import copy
from dataclasses import replace
from math import log

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dks_study.method.networks import Start, build_network, own_network, own_weights
from dks_study.method.own_loss import LoopError, SynergyLoss
from dks_study.method.synergy import objective_for
from dks_study.spec.backbone import ResNetSpec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.cohort import PeerSpec, TeacherSpec
from dks_study.spec.loss import LossSpec
from dks_study.spec.trial import DataSpec, OptimiserSpec, RunSpec
from dks_study.training.averaging import Average
from dks_study.training.cost import count_cost
from dks_study.training.optim import build_optimiser

START = LossSpec(teacher_signal="start")
NAMES = ("stage1", "main")
IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 1, 2, 3, 4, 5])


def run_spec(loss=START, **more):
    backbone = ResNetSpec(name="resnet", depth=8, base_channels=2)
    return RunSpec(
        backbone=backbone, data=DataSpec(name="digits"), branches=BranchSpec(taps=("stage1",)), loss=loss, epochs=1,
        **more,
    )  # fmt: skip


def network(loss=START, seed=0, **more):
    return build_network(run_spec(loss, **more), 1, 10, seed)


def log_p(*probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()


# Of one image and two classes: probabilities now, and at the start.
NOW = {"stage1": log_p([0.8, 0.2]), "main": log_p([0.5, 0.5])}
THEN = {"stage1@start": log_p([0.6, 0.4]), "main@start": log_p([0.1, 0.9])}


def alone(**loss):
    """The KL of stage1>main and nothing else."""
    given = {"pairing": ("stage1>main",), "main_weight": 0, "branch_weight": 0, "teacher_signal": "start", **loss}
    return objective_for(LossSpec(**given), NAMES)


def test_what_is_taught_is_what_the_teacher_said_at_the_start():
    label = torch.tensor([0])
    by_hand = 0.6 * log(0.6 / 0.5) + 0.4 * log(0.4 / 0.5)  # KL(q of stage1 at the start || p of main now)
    terms = alone()(NOW | THEN, label)
    assert terms.total.item() == pytest.approx(by_hand, rel=1e-12)
    knowledge = 0.8 * log(0.8 / 0.5) + 0.2 * log(0.2 / 0.5)
    assert terms.synergy[0, 1].item() == pytest.approx(knowledge, rel=1e-12), "reported: how far they are apart"
    # Gradients by the logits of main: p - q = -0.1, +0.1; knowledge's -0.3, +0.3: three times as large.
    kept = alone(keep_gradient_size=True)(NOW | THEN, label)
    assert kept.total.item() == pytest.approx(3 * by_hand, rel=1e-12)
    # At temperature 2 the start's 0.6 : 0.4 becomes sqrt(0.6) : sqrt(0.4).
    q = 0.6**0.5 / (0.6**0.5 + 0.4**0.5)
    softened = q * log(q / 0.5) + (1 - q) * log((1 - q) / 0.5)
    assert alone(temperature=2.0)(NOW | THEN, label).total.item() == pytest.approx(softened, rel=1e-12)


def test_only_the_student_of_now_learns():
    leaves = {name: value.clone().requires_grad_() for name, value in (NOW | THEN).items()}
    alone()(leaves, torch.tensor([0])).total.backward()
    assert leaves["main"].grad.tolist() == [pytest.approx([-0.1, 0.1])]
    assert leaves["stage1"].grad.abs().max() == 0
    assert leaves["stage1@start"].grad is leaves["main@start"].grad is None


def test_before_the_first_step_it_is_knowledge_bit_for_bit():
    placebo, plain = network().train(), network(LossSpec()).train()
    totals = [
        objective_for(loss, NAMES)(net(IMAGES), TARGETS).total for loss, net in ((START, placebo), (LossSpec(), plain))
    ]
    assert totals[0].item() == totals[1].item()
    for total in totals:
        total.backward()
    gradients = [{name: each.grad for name, each in own_network(net).named_parameters()} for net in (placebo, plain)]
    for name, gradient in gradients[1].items():
        assert torch.allclose(gradients[0][name], gradient, atol=1e-7), name


def test_it_stays_the_start_whatever_is_trained_and_keeps_nothing_of_the_batches():
    net = network()
    before, said = copy.deepcopy(net.start.state_dict()), net.train()(IMAGES)
    optimiser = build_optimiser(net.parameters(), OptimiserSpec(lr=0.1))
    objective_for(START, NAMES)(said, TARGETS).total.backward()
    optimiser.step()
    again = net(IMAGES)
    assert all(torch.equal(again[f"{name}@start"], said[f"{name}@start"]) for name in NAMES)
    assert not any(torch.equal(again[name], said[name]) for name in NAMES)
    after = net.start.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(each.grad is None and not each.requires_grad for each in net.start.parameters())


def test_evaluating_it_goes_by_what_it_started_with_and_each_image_by_itself():
    net = network().eval()
    whole, first = net(IMAGES), net(IMAGES[:2])
    for name in NAMES:
        torch.testing.assert_close(whole[f"{name}@start"], whole[name])
        torch.testing.assert_close(first[f"{name}@start"], whole[f"{name}@start"][:2])


def test_of_the_copy_batch_norms_alone_ever_train():
    net = network().train()
    modes = {type(module): module.training for module in net.start.modules()}
    assert {kind for kind, trains in modes.items() if trains} == {nn.BatchNorm2d}
    assert all(module.training for module in net.own.modules())
    net.eval()
    assert not any(module.training for module in net.modules())


def test_it_costs_a_forward_pass_of_everything_and_no_weight_that_is_trained_or_ships():
    cost, plain = (count_cost(network(loss), (1, 8, 8)) for loss in (START, LossSpec()))
    assert cost == replace(plain, macs_train=2 * plain.macs_train)


def test_an_average_of_weights_shares_it_and_what_ships_lacks_it():
    net = network().train()
    average = Average(net, 0.5)
    assert average.network.start is net.start
    net.train()
    assert any(module.training for module in net.start.modules() if isinstance(module, _BatchNorm))
    assert own_weights(net.state_dict()).keys() == network(LossSpec()).state_dict().keys()


def test_peers_and_ensembles_have_a_start_too():
    loss = LossSpec(pairing=("cross", "from_ensemble"), teacher_signal="start")
    net = network(loss, peers=(PeerSpec(),), ensemble="gate")
    assert isinstance(net.start, Start)
    logits, names = net.train()(IMAGES), run_spec(loss, peers=(PeerSpec(),), ensemble="gate").classifiers
    assert {name for name in logits if not name.endswith("@start")} == set(names)
    for name in names:
        assert torch.equal(logits[name], logits[f"{name}@start"]), "before the first step"


@pytest.mark.parametrize(
    "teacher", [TeacherSpec(own="start"), TeacherSpec(weights="a.pt", backbone=ResNetSpec(name="resnet", depth=8))]
)
def test_where_a_teacher_has_no_other_start_it_is_refused(teacher):
    loss = LossSpec(pairing=("teacher>main",), teacher_signal="start")
    with pytest.raises(ValidationError, match=r"loss\.teacher_signal: must not be start with a teacher.*got 'start'"):
        run_spec(loss, teacher=teacher)


def test_a_loop_of_ones_own_has_no_start():
    with pytest.raises(LoopError, match=r"teacher_signal: must not be start in a loop of one's own, .*, got 'start'"):
        SynergyLoss(teacher_signal="start")
