"""Ensembles of the own classifiers as teachers: ONE and OKDDip against their formulas written out by hand."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pseudo import pseudo
from torch import nn

from dks_study.method.ensembles import Attention, Gate
from dks_study.method.networks import Cohort, build_network, own_weights
from dks_study.method.synergy import objective_for
from dks_study.spec.files import load_study
from dks_study.spec.loss import LossSpec
from dks_study.spec.pairing import pairing_matrix
from dks_study.spec.trial import RunSpec
from dks_study.spec.yamldoc import SpecError
from dks_study.training.cost import count_cost

IMAGES, TARGETS = pseudo("images", (6, 1, 8, 8)).float(), torch.arange(6)
RESNET = {"name": "resnet", "depth": 8, "base_channels": 4}
SWIN = {"name": "own_networks:tiny_swin"}
NAMES, T, C = ("stage1", "stage2", "main"), 3.0, 5
KINDS = {
    "gate": {"pairing": "from_ensemble", "temperature": T, "temperature_squared": True},
    "attention": {"pairing": "from_ensemble", "temperature": T, "temperature_squared": True, "detach_teacher": False},
}
by_kind = pytest.mark.parametrize("kind", KINDS)


def run_spec(kind, backbone=RESNET, taps=("stage1", "stage2"), **more):
    values = {"backbone": backbone, "data": {"name": "digits"}, "epochs": 1, "branches": {"taps": list(taps)}, **more}
    values |= {"ensemble": kind, "loss": KINDS[kind]} if kind else {"loss": {"pairing": "none"}}
    if backbone is SWIN:
        values["branches"]["recipe"] = "linear"
    return RunSpec.model_validate(values, strict=False)


def network(kind, *args, seed=0, **more):
    return build_network(run_spec(kind, *args, **more), 1, 10, seed, (8, 8))


def kl(p, q):
    return (p * (p / q).log()).sum(1).mean()


def made_up(name):
    return ((pseudo(name, (4, C)) - 0.4) * 3).requires_grad_()


def softmax(values):
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def total_and_gradients(logits, total):
    total.backward()
    return total.item(), [each.grad for each in logits.values()]


def test_one_is_its_formula():
    """Sum of CE of the three and of z_e, + T^2 sum KL(p_e || p_k): p_e a constant in KL, not in its cross-entropy."""
    weights, targets = pseudo("weights", (4, 3)).softmax(1), torch.tensor([0, 4, 2, 2])

    def loss_of(logits):
        return sum(weights[:, [at]] * each for at, each in enumerate(logits.values()))

    ours, hand = ({name: made_up(name) for name in NAMES} for _ in range(2))
    objective = objective_for(LossSpec(**KINDS["gate"]), ("ensemble.gate", *NAMES))
    found = total_and_gradients(ours, objective({"ensemble.gate": loss_of(ours), **ours}, targets).total)
    mixed = loss_of(hand)
    total = sum(F.cross_entropy(each, targets) for each in (mixed, *hand.values()))
    total = total + T**2 * sum(kl((mixed.detach() / T).softmax(1), (each / T).softmax(1)) for each in hand.values())
    value, gradients = total_and_gradients(hand, total)
    assert found[0] == pytest.approx(value, rel=1e-10)
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found[1], gradients, strict=True))


def test_okddip_is_its_formula():
    """Sum of CE of the three + T^2 (sum of KL(t_a || q_a) + KL(mean || main)), with gradients through the targets."""
    alpha, targets = pseudo("alpha", (4, 2, 2)).softmax(2), torch.tensor([0, 4, 2, 2])

    def teachers(logits):
        one, two = logits["stage1"], logits["stage2"]
        first, second = (alpha[:, a, [0]] * one + alpha[:, a, [1]] * two for a in (0, 1))
        return {"ensemble.stage1": first, "ensemble.stage2": second, "ensemble.main": (one + two) / 2}

    ours, hand = ({name: made_up(name) for name in NAMES} for _ in range(2))
    names = tuple(f"ensemble.{name}" for name in NAMES)
    objective = objective_for(LossSpec(**KINDS["attention"]), (*names, *NAMES))
    found = total_and_gradients(ours, objective({**teachers(ours), **ours}, targets).total)
    total = sum(F.cross_entropy(each, targets) for each in hand.values())
    pairs = zip(teachers(hand).values(), hand.values(), strict=True)
    total = total + T**2 * sum(kl((t / T).softmax(1), (s / T).softmax(1)) for t, s in pairs)
    value, gradients = total_and_gradients(hand, total)
    assert found[0] == pytest.approx(value, rel=1e-10)
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found[1], gradients, strict=True))


@pytest.mark.parametrize(("shape", "positions"), [((4, 3, 2, 2), (2, 3)), ((4, 2, 2, 3), (1, 2)), ((4, 5, 3), (1,))])
def test_the_gate_is_one_linear_layer_batch_norm_and_relu_on_the_mean_feature(shape, positions):
    torch.manual_seed(0)
    gate = Gate("it", positions, channels=3, classifiers=2).double()
    feature, logits = pseudo("feature", shape), {"stage1": pseudo("a", (4, C)), "main": pseudo("b", (4, C))}
    found = gate.train()(logits, {"it": feature})["ensemble.gate"].detach().numpy()
    linear = gate.scores[0]
    x = feature.numpy().mean(positions)
    scores = x @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    normal = (scores - scores.mean(0)) / np.sqrt(scores.var(0) + 1e-5)
    for b in range(4):
        g = softmax(np.maximum(normal[b], 0))
        expected = g[0] * logits["stage1"][b].numpy() + g[1] * logits["main"][b].numpy()
        np.testing.assert_allclose(found[b], expected, rtol=1e-9)


def test_the_attention_is_by_queries_and_keys_of_the_branches_embeddings():
    torch.manual_seed(0)
    attention = Attention(("one", "two"), (16, 24)).double()
    seen = {"one": pseudo("one", (4, 16)), "two": pseudo("two", (4, 24))}
    logits = {name: pseudo(name, (4, C)) for name in NAMES}
    found = {name: each.detach().numpy() for name, each in attention(logits, seen).items()}
    assert list(found) == ["ensemble.stage1", "ensemble.stage2", "ensemble.main"]
    z = [logits[name].numpy() for name in ("stage1", "stage2")]
    for b in range(4):
        parts = [(q, k, h[b]) for q, k, h in zip(attention.queries, attention.keys, seen.values(), strict=True)]
        q, k = ([(layer[at].weight @ layer[2]).detach().numpy() for layer in parts] for at in (0, 1))
        for a, name in enumerate(("ensemble.stage1", "ensemble.stage2")):
            alpha = softmax(np.array([q[a] @ k[0], q[a] @ k[1]]))
            np.testing.assert_allclose(found[name][b], alpha[0] * z[0][b] + alpha[1] * z[1][b], rtol=1e-9)
    np.testing.assert_allclose(found["ensemble.main"], (z[0] + z[1]) / 2, rtol=1e-12)
    assert attention.queries[0].out_features == 2, "an eighth of the narrowest embedding"


@by_kind
@pytest.mark.parametrize(
    ("backbone", "taps"),
    [
        pytest.param(RESNET, ("stage1", "stage2"), id="cnn"),
        pytest.param(SWIN, ("features.1.0", "features.1"), id="swin", marks=pytest.mark.slow),
    ],
)
def test_the_own_network_stays_as_it_is_and_every_parameter_learns(kind, backbone, taps):
    run = run_spec(kind, backbone, taps)
    plain, net = (network(each, backbone, taps) for each in (None, kind))
    assert all(torch.equal(own_weights(net.state_dict())[key], value) for key, value in plain.state_dict().items())
    logits = net.eval()(IMAGES)
    assert tuple(logits) == run.classifiers
    assert all(torch.equal(logits[name], value) for name, value in plain.eval()(IMAGES).items())
    objective_for(run.loss, run.classifiers)(net.train()(IMAGES), TARGETS).total.backward()
    assert all(each.grad is not None for each in net.parameters())
    assert all(each.grad.abs().max() > 0 for each in net.ensemble.parameters() if each.ndim == 2)


@by_kind
def test_they_look_at_features_of_the_network(kind):
    net = network(kind).eval()
    logits = net(IMAGES)
    own = net.own
    feature = own.backbone.walk(IMAGES, ("stage1", "stage2"))
    if kind == "gate":
        expected = net.ensemble({name: logits[name] for name in NAMES}, {"to branches.stage1": feature["stage1"]})
    else:
        embeddings = {}
        for at, name in enumerate(("stage1", "stage2")):
            *before, _ = own.branch(name).children()
            given = nn.Sequential(*before)(feature[name])
            embeddings[net.ensemble.looks_at[at]] = given if given.ndim == 2 else given.mean((2, 3))
        expected = net.ensemble({name: logits[name] for name in NAMES}, embeddings)
    for name, value in expected.items():
        torch.testing.assert_close(logits[name], value)


@by_kind
def test_they_start_alike_whatever_else_there_is_cost_what_they_are_and_are_dropped(kind):
    alone, among, other = network(kind), network(kind, peers=[{}]), network(kind, seed=1)
    state = alone.ensemble.state_dict()
    assert all(torch.equal(value, among.ensemble.state_dict()[key]) for key, value in state.items())
    assert not all(torch.equal(value, other.ensemble.state_dict()[key]) for key, value in state.items())
    plain, costs = count_cost(network(None), (1, 8, 8)), count_cost(alone, (1, 8, 8))
    assert costs.params_train - plain.params_train == sum(each.numel() for each in alone.ensemble.parameters())
    assert costs.macs_train > plain.macs_train
    assert (costs.params_inference, costs.macs_inference) == (plain.params_inference, plain.macs_inference)


@by_kind
def test_copies_and_pickles_compute_the_same(kind):
    net = network(kind).eval()
    assert isinstance(net, Cohort)
    expected = net(IMAGES)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert all(torch.equal(value, expected[name]) for name, value in twin(IMAGES).items())


def test_schemes_leave_ensembles_out_but_from_ensemble():
    gated, each = ("ensemble.gate", *NAMES), (*(f"ensemble.{name}" for name in NAMES), *NAMES)

    def pairs(scheme, names):
        matrix = pairing_matrix(scheme, names)
        return [f"{names[t]}>{names[s]}" for t in range(len(names)) for s in range(len(names)) if matrix[t][s]]

    assert pairs("from_ensemble", gated) == [f"ensemble.gate>{name}" for name in NAMES]
    assert pairs("from_ensemble", each) == [f"ensemble.{name}>{name}" for name in NAMES]
    assert pairs("dense", each) == pairs("dense", NAMES)
    assert pairs("cross", ("peer1.main", *gated)) == pairs("cross", ("peer1.main", *NAMES))
    assert pairs(("dense", "ensemble.gate>main"), gated) == ["ensemble.gate>main", *pairs("dense", NAMES)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["one.ensemble=gates"], "one.ensemble: must be gate or attention, got"),
        (["one.branches.taps=[]"], "one.ensemble: must be left out with fewer than 1 branch, got 'gate' with 0"),
        (["okddip.branches.taps=[stage1]"], "must be left out with fewer than 2 branches, got 'attention' with 1"),
        (["okddip.loss.detach_teacher=true"], "loss.detach_teacher: must be false with ensemble attention"),
        (["one.loss.pairing=none"], "loss.pairing: must have each ensemble teach (from_ensemble), got"),
        (["okddip.loss.pairing=[ensemble.stage1>stage1]"], "got nobody whom ensemble.stage2 does"),
        (
            ["dks.loss.pairing=from_ensemble"],
            "loss.pairing: from_ensemble needs ensemble (gate or attention), got null",
        ),
        (
            ["one.loss.pairing=[from_ensemble, main>ensemble.gate]"],
            "an ensemble is nobody's student, got 'main>ensemble",
        ),
        (
            ["okddip.loss.branch_weight_by_tap={ensemble.stage1: 1.0}"],
            "must name taps that carry a branch, got 'ensemble.stage1'",
        ),
        (
            ["okddip.loss.terms.h={kind: embedding, pairs: [ensemble.stage1>stage2]}"],
            "terms.h.pairs: must be of classifiers with features, which ensembles are not, got 'ensemble.stage1>",
        ),
        (
            ["okddip.loss.terms.h={kind: hint, pairs: [ensemble.stage1>stage2]}"],
            "must name networks that there are",
        ),
    ],
)
def test_what_cannot_teach_is_told_in_one_line(settings, message):
    with pytest.raises(SpecError) as caught:
        load_study("against_the_family", None, [f"arms.{each}" for each in settings])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
