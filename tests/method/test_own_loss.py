"""SynergyLoss: the study's own loss, by the same keys, for any logits by name."""

import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dks_study import Problem, SynergyLoss
from dks_study.method.synergy import objective_for
from dks_study.spec.loss import LossSpec

NAMES = ("layer1.0", "layer2", "main")
LABELS = torch.tensor([0, 2, 1, 4])


def logits(names=NAMES, seed=0):
    random = torch.Generator().manual_seed(seed)
    return {name: (3 * torch.randn(4, 5, generator=random)).requires_grad_() for name in names}


def log_softmax(row):
    total = math.log(sum(math.exp(value) for value in row))
    return [value - total for value in row]


def test_two_branches_by_hand():
    given_ = logits()
    terms = SynergyLoss(pairing="dense", branch_weight=0.5, synergy_weight=2.0)(given_, LABELS)
    rows = {name: [log_softmax(row) for row in each.tolist()] for name, each in given_.items()}
    entropy = {
        name: -sum(rows[name][at][label] for at, label in enumerate(LABELS.tolist())) / len(LABELS) for name in NAMES
    }
    expected = 0.5 * entropy["layer1.0"] + 0.5 * entropy["layer2"] + entropy["main"]
    for teacher in NAMES:
        for student in NAMES:
            pairs = zip(rows[teacher], rows[student], strict=True)
            kl = sum(math.exp(t) * (t - s) for p, q in pairs for t, s in zip(p, q, strict=True)) / len(LABELS)
            expected += 2.0 * kl if teacher != student else 0.0
    assert terms.total.item() == pytest.approx(expected, rel=1e-5)
    assert terms.names == NAMES
    assert terms.supervised.tolist() == pytest.approx([entropy[name] for name in NAMES], rel=1e-5)


weights = st.floats(0, 4)
KEYS = st.fixed_dictionaries(
    {},
    optional={
        "pairing": st.sampled_from(
            ["none", "top_down", "bottom_up", "dense", "adjacent", "from_main", ["main>layer2"]]
        ),
        "synergy_weight": weights,
        "top_down_weight": weights,
        "branch_weight": weights,
        "branch_weight_by_tap": st.dictionaries(st.sampled_from(NAMES[:2]), weights),
        "branch_schedule": st.sampled_from(["constant", "linear"]),
        "synergy_warmup": st.floats(0, 0.9),
        "temperature": st.floats(0.5, 8),
        "label_smoothing": st.floats(0, 0.5),
        "pair_reduction": st.sampled_from(["sum", "mean"]),
        "detach_teacher": st.booleans(),
    },
)


@settings(max_examples=60)
@given(KEYS, st.floats(0, 1), st.integers(0, 99))
def test_it_is_the_objective_of_a_study(keys, progress, seed):
    mine, theirs = logits(seed=seed), logits(seed=seed)
    spec = LossSpec(**{**keys, "pairing": tuple(p) if isinstance(p := keys.get("pairing", "dense"), list) else p})
    one = SynergyLoss(**keys)(mine, LABELS, progress)
    other = objective_for(spec, NAMES)(theirs, LABELS, progress)
    assert torch.equal(one.total, other.total)
    assert torch.equal(one.synergy, other.synergy)
    one.total.backward()
    other.total.backward()
    assert all(torch.equal(mine[name].grad, theirs[name].grad) for name in NAMES if theirs[name].grad is not None)


def test_pairs_are_left_out_by_the_draws_that_it_is_given():
    loss, objective = SynergyLoss(pair_dropout=0.5), objective_for(LossSpec(pair_dropout=0.5), NAMES)
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    one, other = loss(logits(), LABELS, draws=draws[0]), objective(logits(), LABELS, draws=draws[1])
    assert torch.equal(one.total, other.total)
    assert not torch.equal(one.total, SynergyLoss()(logits(), LABELS).total)


def test_one_loss_serves_networks_with_other_branches_and_survives_pickling():
    loss = SynergyLoss(pairing="top_down")
    assert loss(logits(("a", "main")), LABELS).names == ("a", "main")
    again = pickle.loads(pickle.dumps(loss))
    assert torch.equal(again(logits(), LABELS).total, loss(logits(), LABELS).total)
    assert repr(loss) == "SynergyLoss(pairing='top_down')"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pairing": "dens"}, 'SynergyLoss: pairing: the rule is one of none, top_down, .*, got "dens"'),
        ({"synergy_wieght": 1.0}, "SynergyLoss: synergy_wieght: unknown key, did you mean synergy_weight"),
        ({"temperature": 0.0}, "SynergyLoss: temperature: must be above 0, got 0"),
        ({"branch_schedule": "threshold"}, "SynergyLoss: branch_threshold: must be above 0 with branch_schedule"),
        ({"pairing": ["main>a", "main>main"]}, "SynergyLoss: pairing: a pair is written 'teacher>student'"),
        ({"pairing": object()}, "SynergyLoss: pairing: "),
    ],
)
def test_wrong_keys_are_refused_in_one_line(keys, message):
    with pytest.raises(Problem, match="^" + message) as caught:
        SynergyLoss(**keys)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "names", "message"),
    [
        ({"pairing": ["main>layer9"]}, NAMES, r"pairing: pairs must join classifiers of this network .*'layer9'"),
        (
            {"branch_weight_by_tap": {"layer9": 1.0}},
            NAMES,
            r"branch_weight_by_tap: must name taps \(layer1.0, layer2\)",
        ),
        ({"branch_weight_by_tap": {"main": 1.0}}, NAMES, "branch_weight_by_tap: must name taps"),
        ({"branch_schedule": "linear"}, NAMES, "progress: must be given with branch_schedule linear"),
        ({"synergy_warmup": 0.5}, NAMES, "progress: must be given with .* synergy_warmup, got None"),
        ({"pair_dropout": 0.5}, NAMES, "draws: must be a torch.Generator"),
        ({}, ("main", "layer1"), "logits: must be by classifier, `main` last, got main, layer1"),
        ({}, (), "logits: must be by classifier, `main` last, got none"),
    ],
)
def test_what_does_not_fit_the_logits_is_refused_in_one_line(keys, names, message):
    with pytest.raises(Problem, match="^" + message):
        SynergyLoss(**keys)(logits(names), LABELS)
