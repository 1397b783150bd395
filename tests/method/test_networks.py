"""Cohorts: peers that learn along and a frozen teacher, around a network that they leave as it is."""

import copy
import pickle

import pytest
import torch

from dks_study.method.backbones import build_backbone
from dks_study.method.networks import Cohort, build_network
from dks_study.method.synergy import objective_for
from dks_study.spec.backbone import ResNetSpec, WRNSpec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.cohort import PeerSpec, TeacherSpec
from dks_study.spec.loss import LossSpec
from dks_study.spec.trial import DataSpec, OptimiserSpec, RunSpec, TrialSpec
from dks_study.training.cost import count_cost
from dks_study.training.data import load
from dks_study.training.team import Team
from dks_study.training.trainer import Chosen, fit

RESNET = ResNetSpec(name="resnet", depth=8, base_channels=4)
WRN = WRNSpec(name="wrn", depth=10, width=1, dropout=0.3)
IMAGES = torch.randn(6, 1, 8, 8)


@pytest.fixture
def teacher(tmp_path):
    """A trained WRN's weights, as exported: (spec, the network)."""
    network = build_backbone(WRN, 1, 10, seed=5).train()
    with torch.no_grad():
        network(IMAGES)  # running statistics that are not those of a fresh network
    torch.save(network.plain().state_dict(), tmp_path / "teacher.pt")
    return TeacherSpec(weights=str(tmp_path / "teacher.pt"), backbone=WRN), network.eval()


def run_spec(taps=("stage1",), peers=(), teacher=None, pairing="cross", backbone=RESNET, **more):
    return RunSpec(
        backbone=backbone,
        data=DataSpec(name="digits"),
        branches=BranchSpec(taps=taps),
        peers=peers,
        teacher=teacher,
        loss=LossSpec(pairing=pairing),
        epochs=1,
        **more,
    )


def network(*args, seed=0, **kwargs):
    return build_network(run_spec(*args, **kwargs), 1, 10, seed)


def test_classifiers_are_named_by_network_own_main_last(teacher):
    spec = run_spec(peers=(PeerSpec(), PeerSpec(backbone=WRN, branches=BranchSpec())), teacher=teacher[0])
    names = ("teacher", "peer1.stage1", "peer1.main", "peer2.main", "stage1", "main")
    assert spec.classifiers == names
    logits = build_network(spec, 1, 10, seed=0)(IMAGES)
    assert tuple(logits) == names
    assert all(each.shape == (6, 10) for each in logits.values())


def test_without_peers_and_teacher_there_is_no_cohort():
    assert not isinstance(network(), Cohort)


@pytest.mark.parametrize("backbone", [RESNET, WRN], ids=lambda spec: spec.name)
def test_others_leave_the_own_network_as_it_is(backbone, teacher):
    alone = network(backbone=backbone)
    cohort = network(backbone=backbone, peers=(PeerSpec(), PeerSpec()), teacher=teacher[0])
    assert all(torch.equal(cohort.own.state_dict()[key], value) for key, value in alone.state_dict().items())
    seen = []
    for net in (alone, cohort):
        torch.manual_seed(3)  # dropout
        seen.append(net.train()(IMAGES))
    assert all(torch.equal(value, seen[1][name]) for name, value in seen[0].items())


def test_peers_start_from_weights_of_their_own():
    cohort = network(peers=(PeerSpec(), PeerSpec()))
    starts = [net.backbone.head.fc.weight for net in (cohort.own, *cohort.peers)]
    assert not any(torch.equal(starts[i], starts[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    other = network(peers=(PeerSpec(),))
    assert torch.equal(other.peers[0].backbone.head.fc.weight, starts[1])  # whoever else is there


def test_the_teacher_is_the_trained_network_and_stays_it(teacher):
    spec, trained = teacher
    cohort = network((), teacher=spec, pairing=("teacher>main",)).train()
    optimiser = torch.optim.SGD([p for p in cohort.parameters() if p.requires_grad], lr=0.1)
    objective = objective_for(LossSpec(pairing=("teacher>main",)), ("teacher", "main"))
    for _ in range(2):
        logits = cohort(IMAGES)
        objective(logits, torch.arange(6)).total.backward()
        optimiser.step()
        assert torch.equal(logits["teacher"], trained(IMAGES))
    assert all(
        torch.equal(a, b)
        for a, b in zip(cohort.teacher.network.state_dict().values(), trained.state_dict().values(), strict=True)
    )
    assert not any(parameter.requires_grad for parameter in cohort.teacher.parameters())


def test_every_parameter_but_the_teacher_s_learns_so_ddp_finds_no_unused_ones(teacher):
    spec = run_spec(peers=(PeerSpec(),), teacher=teacher[0])
    cohort = build_network(spec, 1, 10, seed=0)
    objective_for(spec.loss, spec.classifiers)(cohort(IMAGES), torch.arange(6)).total.backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in cohort.parameters())


def test_copies_and_pickles_compute_the_same(teacher):
    cohort = network(peers=(PeerSpec(),), teacher=teacher[0]).eval()
    expected = cohort(IMAGES)
    for twin in (copy.deepcopy(cohort), pickle.loads(pickle.dumps(cohort))):
        assert all(torch.equal(value, expected[name]) for name, value in twin(IMAGES).items())


def test_training_costs_all_of_them_inference_the_own_backbone(teacher):
    alone, paired = network(()), network((), peers=(PeerSpec(),))
    taught = network((), teacher=teacher[0], pairing=("teacher>main",))
    costs = [count_cost(net, (1, 8, 8)) for net in (alone, paired, taught)]
    assert costs[1].params_train == 2 * costs[0].params_train
    assert costs[1].macs_train == 2 * costs[0].macs_train
    assert costs[2].params_train == costs[0].params_train
    assert costs[2].macs_train > costs[0].macs_train
    assert len({(cost.params_inference, cost.macs_inference) for cost in costs}) == 1


def test_a_cohort_trains_and_resumes_exactly(teacher):
    trial = TrialSpec(
        **run_spec(peers=(PeerSpec(),), teacher=teacher[0]).model_copy(update={"epochs": 2}).__dict__
        | {"optimiser": OptimiserSpec(batch_size=512, lr=0.05)},
        phase="confirm",
        seed=0,
    )
    data, team = load(trial.data), Team.here(torch.device("cpu"))
    first, second = fit(trial, data, team)
    assert first.metrics.keys() >= {"val/top1/peer1.main", "val/top1/teacher", "train/kl/teacher>main"}
    assert "test/top1/peer1.stage1" in second.metrics
    report = next(iter(fit(trial, data, team)))
    chosen = Chosen(1, report.metrics["val/top1/main"], copy.deepcopy(report.state.shipped))
    (resumed,) = fit(trial, data, team, report.state, chosen)
    assert resumed.metrics["test/loss"] == second.metrics["test/loss"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "nowhere.pt"}, r"teacher\.weights: must be a file of weights .* got 'nowhere.pt': .*No such file"),
        ({"backbone": RESNET}, r"teacher\.weights: must be those of resnet as it is described, for 1 channels and 10 "),
    ],
)
def test_a_teacher_that_cannot_be_had_is_refused_in_one_line(teacher, change, message):
    with pytest.raises(ValueError, match=message) as error, torch.device("meta"):
        network((), teacher=teacher[0].model_copy(update=change), pairing="none")
    assert "\n" not in str(error.value)


def test_a_pickle_of_code_is_refused(tmp_path):
    torch.save(build_backbone(WRN, 1, 10, seed=0), tmp_path / "code.pt")
    with pytest.raises(ValueError, match=r"teacher\.weights: must be a file of weights"):
        network((), teacher=TeacherSpec(weights=str(tmp_path / "code.pt"), backbone=WRN), pairing="none")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peers": [{"backbone": {"name": "wrn", "depth": 11, "width": 1}}]}, "6n"),
        ({"peers": [{"branches": {"taps": ["stage7"]}}]}, r"peers\.0\.branches\.taps: must be taps of resnet"),
        ({"loss": {"pairing": ["teacher>main"]}}, "got 'teacher' in 'teacher>main'"),
        ({"peers": [{}], "loss": {"branch_weight_by_tap": {"peer1.main": 1.0}}}, "must name taps that carry a branch"),
    ],
)
def test_wrong_cohorts_are_refused(values, message):
    base = {"backbone": RESNET.model_dump(), "data": {"name": "digits"}, "epochs": 1}
    with pytest.raises(ValueError, match=message):
        RunSpec.model_validate({**base, **values}, strict=False)
