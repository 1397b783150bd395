import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pseudo import pseudo, reference
from torch.distributions import Categorical, kl_divergence

from dks_study.method.synergy import objective_for, pairwise_kl
from dks_study.spec.loss import LossSpec
from dks_study.spec.pairing import SCHEMES

CASES = reference("dks_losses.json")
NAMES = ("stage1", "stage2", "main")
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"K{case['branches']}")


def case_logits(case):
    shape = (case["batch"], case["classes"])
    return torch.stack([8 * pseudo(f"logits{case['branches']}{i}", shape) - 4 for i in range(case["branches"])])


def case_names(case):
    return (*(f"stage{i + 1}" for i in range(case["branches"] - 1)), "main")


def some_logits(classifiers=3, batch=5, classes=7, scale=6.0, dtype=torch.float64):
    values = pseudo(f"some{classifiers}{batch}{classes}", (classifiers, batch, classes))
    return ((values - 0.5) * scale).to(dtype)


def by_name(stacked, names=NAMES):
    return dict(zip(names, stacked, strict=True))


def numpy_kl(logits, temperature=1.0):
    """KL by its definition, one pair, image and class at a time."""
    z = logits.numpy().astype(np.float64) / temperature
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    size, batch, classes = p.shape
    kl = np.zeros((size, size))
    for t, s, b, c in np.ndindex(size, size, batch, classes):
        kl[t, s] += p[t, b, c] * (np.log(p[t, b, c]) - np.log(p[s, b, c])) / batch
    return kl


@by_case
def test_losses_and_gradients_agree_with_the_published_code(case):
    leaves = case_logits(case).requires_grad_()
    names = case_names(case)
    objective = objective_for(LossSpec(smoothing=1e-8), names)  # what the published code adds to each probability
    terms = objective(by_name(leaves, names), torch.tensor(case["targets"]))
    terms.total.backward()
    near = {"rel": 1e-11, "abs": 1e-13}
    assert terms.total.item() == pytest.approx(case["loss"], **near)
    assert terms.supervised.tolist() == pytest.approx(case["cross_entropy"], **near)
    assert terms.synergy.numpy() == pytest.approx(np.array(case["kl_teacher_student"]), **near)
    assert leaves.grad.abs().sum((1, 2)).tolist() == pytest.approx(case["grad_sum_abs"], **near)
    assert leaves.grad[:, 0].numpy() == pytest.approx(np.array(case["grad_sample0"]), **near)


@by_case
def test_without_its_smoothing_the_published_loss_changes_little(case):
    leaves = case_logits(case).requires_grad_()
    names = case_names(case)
    terms = objective_for(LossSpec(), names)(by_name(leaves, names), torch.tensor(case["targets"]))
    terms.total.backward()
    # Relative; the smoothing weighs more the more classes there are and the smaller their probabilities get.
    near = {"rel": {5: 1e-6, 10: 5e-6, 100: 5e-5}[case["classes"]]}
    assert terms.total.dtype == torch.float64
    assert terms.names == names
    assert terms.total.item() == pytest.approx(case["loss"], **near)
    assert terms.supervised.tolist() == pytest.approx(case["cross_entropy"], rel=1e-11)
    assert terms.synergy.numpy() == pytest.approx(np.array(case["kl_teacher_student"]), **near)
    assert leaves.grad.abs().sum((1, 2)).tolist() == pytest.approx(case["grad_sum_abs"], **near)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_kl_agrees_with_torch_distributions_and_with_the_definition(temperature):
    logits = some_logits()
    teachers, students = (
        Categorical(logits=logits[:, None] / temperature),
        Categorical(logits=logits[None] / temperature),
    )
    ours = pairwise_kl(logits, temperature)
    torch.testing.assert_close(ours, kl_divergence(teachers, students).mean(-1), rtol=1e-12, atol=1e-12)
    assert ours.numpy() == pytest.approx(numpy_kl(logits, temperature), abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("scheme", [*SCHEMES, ("main>stage1", "stage1>stage2")])
def test_total_and_gradient_agree_with_a_sum_written_out(scheme, temperature):
    loss = LossSpec(
        pairing=scheme,
        synergy_weight=0.7,
        branch_weight=0.4,
        branch_weight_by_tap={"stage2": 0.2},
        temperature=temperature,
    )
    targets = torch.tensor([0, 6, 3, 2, 2])
    objective = objective_for(loss, NAMES)
    ours, naive = (some_logits().requires_grad_() for _ in range(2))
    total = sum(w * F.cross_entropy(z, targets) for w, z in zip((0.4, 0.2, 1.0), naive, strict=True))
    for t, s in np.argwhere(np.array(objective.pair_weights) > 0):
        student = F.log_softmax(naive[s] / temperature, -1)
        total = total + 0.7 * F.kl_div(student, F.softmax(naive[t].detach() / temperature, -1), reduction="batchmean")
    total.backward()
    terms = objective(by_name(ours), targets)
    terms.total.backward()
    torch.testing.assert_close(terms.total, total, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, naive.grad, rtol=1e-11, atol=1e-13)


def test_only_the_student_gets_a_gradient():
    logits = some_logits()
    for t in range(3):
        for s in range(3):
            leaf = logits.clone().requires_grad_()
            pairwise_kl(leaf)[t, s].backward()
            per_classifier = leaf.grad.abs().sum((1, 2))
            others = [k for k in range(3) if k != s]
            assert per_classifier[others].tolist() == [0.0, 0.0]
            assert (per_classifier[s] > 1e-3) == (t != s)


def test_teacher_of_an_explicit_pair_learns_from_its_own_labels_alone():
    leaf, alone = (some_logits().requires_grad_() for _ in range(2))
    targets = torch.tensor([0, 1, 2, 3, 4])
    objective_for(LossSpec(pairing=("stage1>main",)), NAMES)(by_name(leaf), targets).total.backward()
    objective_for(LossSpec(pairing="none"), NAMES)(by_name(alone), targets).total.backward()
    torch.testing.assert_close(leaf.grad[:2], alone.grad[:2], rtol=0, atol=1e-15)
    assert (leaf.grad[2] - alone.grad[2]).abs().max() > 1e-3


@pytest.mark.parametrize("loss", [LossSpec(pairing="none"), LossSpec(synergy_weight=0.0)])
def test_without_synergy_the_kl_is_measured_but_not_learned(loss):
    leaf = some_logits().requires_grad_()
    targets = torch.tensor([0, 1, 2, 3, 4])
    terms = objective_for(loss, NAMES)(by_name(leaf), targets)
    terms.total.backward()
    plain = some_logits().requires_grad_()
    sum(F.cross_entropy(z, targets) for z in plain).backward()
    torch.testing.assert_close(leaf.grad, plain.grad, rtol=1e-12, atol=1e-15)
    assert terms.synergy.numpy() == pytest.approx(numpy_kl(some_logits()), abs=1e-12)


def test_reports_hold_no_graph():
    terms = objective_for(LossSpec(), NAMES)(by_name(some_logits().requires_grad_()), torch.tensor([0, 1, 2, 3, 4]))
    assert terms.total.requires_grad
    assert not terms.supervised.requires_grad
    assert not terms.synergy.requires_grad


def test_a_plain_backbone_has_the_plain_loss():
    logits, targets = some_logits(1), torch.tensor([0, 1, 2, 3, 4])
    terms = objective_for(LossSpec(), ("main",))({"main": logits[0]}, targets)
    assert terms.synergy.tolist() == [[0.0]]
    torch.testing.assert_close(terms.total, F.cross_entropy(logits[0], targets), rtol=1e-14, atol=0)


tables = st.lists(
    st.lists(st.lists(st.floats(-12, 12, width=32), min_size=4, max_size=4), min_size=2, max_size=2),
    min_size=2,
    max_size=4,
)


@settings(max_examples=50)
@given(tables, st.sampled_from([torch.float32, torch.float64]))
def test_kl_is_not_negative_and_zero_on_the_diagonal(values, dtype):
    kl = pairwise_kl(torch.tensor(values, dtype=dtype))
    assert kl.min() >= -1e-6 * max(1.0, kl.max().item())
    assert torch.equal(kl.diagonal(), torch.zeros(len(values), dtype=dtype))


@settings(max_examples=50)
@given(tables, st.randoms(use_true_random=False))
def test_permuting_classifiers_permutes_the_matrix(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    logits = torch.tensor(values, dtype=torch.float64)
    expected = pairwise_kl(logits)[order][:, order]
    torch.testing.assert_close(pairwise_kl(logits[order]), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=50)
@given(tables, st.floats(-50, 50))
def test_adding_a_constant_to_the_logits_changes_nothing(values, shift):
    logits = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(pairwise_kl(logits + shift), pairwise_kl(logits), rtol=1e-9, atol=1e-11)


def test_the_kl_of_nearly_equal_classifiers_keeps_its_digits_in_float32():
    exact = some_logits(2, 128, 100, scale=8.0)
    exact[1] = exact[0] + 1e-2 * pseudo("nudge", (128, 100))
    expected = pairwise_kl(exact)[0, 1].item()
    assert 1e-6 < expected < 1e-5
    assert pairwise_kl(exact.float())[0, 1].item() == pytest.approx(expected, rel=0.02)


def test_confident_classifiers_stay_finite():
    logits = torch.tensor([[[1e4, 0.0, -1e4]], [[-1e4, 0.0, 1e4]]], requires_grad=True)
    kl = pairwise_kl(logits)
    kl.sum().backward()
    assert kl[0, 1].item() == pytest.approx(2e4, rel=1e-6)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_promoted_even_under_autocast(dtype):
    logits = some_logits(dtype=dtype)
    targets = torch.tensor([0, 1, 2, 3, 4])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kl = pairwise_kl(logits)
        terms = objective_for(LossSpec(), NAMES)(by_name(logits), targets)
    assert kl.dtype == terms.total.dtype == terms.supervised.dtype == terms.synergy.dtype == torch.float32
    torch.testing.assert_close(kl, pairwise_kl(logits.float()), rtol=0, atol=0)


def test_an_objective_first_used_in_inference_mode_still_trains():
    objective = objective_for(LossSpec(synergy_weight=0.123), NAMES)
    targets = torch.tensor([0, 1, 2, 3, 4])
    with torch.inference_mode():
        objective(by_name(some_logits()), targets)
    leaf = some_logits().requires_grad_()
    objective(by_name(leaf), targets).total.backward()
    assert leaf.grad.abs().sum() > 0


def test_a_pair_has_the_weight_of_its_direction_and_the_deeper_one_teaches_top_down():
    loss = LossSpec(top_down_weight=2.0, bottom_up_weight=0.5, synergy_weight=3.0)
    objective = objective_for(loss, NAMES)
    assert objective.pair_weights == ((0.0, 1.5, 1.5), (6.0, 0.0, 1.5), (6.0, 6.0, 0.0)), "[teacher][student]"
    logits, targets = some_logits(), torch.tensor([0, 1, 2, 3, 4])
    kl = numpy_kl(logits)
    upwards, downwards = kl[0, 1] + kl[0, 2] + kl[1, 2], kl[1, 0] + kl[2, 0] + kl[2, 1]
    supervised = sum(F.cross_entropy(each, targets).item() for each in logits)
    total = objective(by_name(logits), targets).total.item()
    assert total == pytest.approx(supervised + 3.0 * (0.5 * upwards + 2.0 * downwards), rel=1e-9)
    across = objective_for(loss.model_copy(update={"pairing": "cross"}), ("peer1.main", "main"))
    assert across.pair_weights == ((0.0, 3.0), (3.0, 0.0)), "between networks there is no direction"


def test_an_objective_is_a_value():
    objective = objective_for(LossSpec(), NAMES)
    assert objective == objective_for(LossSpec(), NAMES)
    assert copy.deepcopy(objective) == pickle.loads(pickle.dumps(objective)) == objective
    assert objective != objective_for(LossSpec(synergy_weight=0.5), NAMES)


def test_missing_logits_are_refused():
    with pytest.raises(KeyError, match="main"):
        objective_for(LossSpec(), NAMES)(
            {"stage1": some_logits()[0], "stage2": some_logits()[1]}, torch.zeros(5).long()
        )


def test_gradient_descent_on_synergy_alone_brings_classifiers_together():
    logits = some_logits().requires_grad_()
    seen = []
    for _ in range(5):
        total = pairwise_kl(logits).sum()
        (gradient,) = torch.autograd.grad(total, logits)
        logits = (logits - 2.0 * gradient).detach().requires_grad_()
        seen.append(total.item())
    assert all(later < earlier for earlier, later in pairwise(seen))
