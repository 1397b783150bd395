"""Placebos: what is destroyed and what stays, by values worked out by hand and by properties."""

from math import log, sqrt

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dks_study.method.own_loss import LoopError, SynergyLoss
from dks_study.method.placebo import destroyed, gradient_sizes
from dks_study.method.synergy import objective_for, pairwise_kl
from dks_study.spec.loss import DRAWN, LossSpec

NAMES = ("stage1", "stage2", "main")
SIGNALS = ("other_images", "wrong_classes", "class_means", "uniform")
# Two classifiers, four images, three classes; labels of the images are 0, 1, 0, 2.
P = torch.tensor(
    [
        [[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.5, 0.2, 0.3], [0.25, 0.25, 0.5]],
        [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.2, 0.4, 0.4], [0.3, 0.1, 0.6]],
    ],
    dtype=torch.float64,
)
LABELS = torch.tensor([0, 1, 0, 2])


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def taught(signal, seed=0):
    return destroyed(P.log(), signal, LABELS, draws(seed)).exp()


def named(logits):
    return dict(zip(NAMES[-len(logits) :], logits, strict=True))


def some_logits(classifiers=3, images=6, classes=4, seed=0):
    return 3 * torch.randn(classifiers, images, classes, generator=draws(seed), dtype=torch.float64)


def test_uniform_is_label_smoothing_from_a_branch():
    assert torch.allclose(taught("uniform"), torch.full_like(P, 1 / 3))
    student = P[1].log()
    by_hand = (-log(3) - student.mean(-1)).mean()  # KL(u || p) = -log C - mean log p
    loss = LossSpec(teacher_signal="uniform", pairing=("stage2>main",), main_weight=0, branch_weight=0)
    total = objective_for(loss, NAMES[1:])(named(P.log()), LABELS).total
    assert total.item() == pytest.approx(by_hand.item(), rel=1e-12)


def test_class_means_are_over_the_images_of_a_label():
    means = taught("class_means")
    assert means[0, 0].tolist() == pytest.approx([0.6, 0.2, 0.2])  # of images 0 and 2
    assert means[1, 0].tolist() == pytest.approx([0.4, 0.35, 0.25])
    assert torch.equal(means[:, 0], means[:, 2])
    assert torch.allclose(means[:, [1, 3]], P[:, [1, 3]])  # alone with their labels


def test_other_images_are_those_of_the_batch_and_never_the_same():
    seen = set()
    for seed in range(20):
        found = taught("other_images", seed)
        shift = next(n for n in range(4) if torch.allclose(found, P.roll(n, dims=1)))
        seen.add(shift)
    assert seen == {1, 2, 3}


def test_of_wrong_classes_the_label_keeps_its_probability_and_the_others_change_places():
    seen = set()
    for seed in range(20):
        found = taught("wrong_classes", seed)
        assert torch.allclose(found[:, range(4), LABELS], P[:, range(4), LABELS])
        swapped = []
        for image, label in enumerate(LABELS.tolist()):
            one, other = (c for c in range(3) if c != label)
            swap = torch.allclose(found[:, image, one], P[:, image, other])
            assert torch.allclose(found[:, image, [one, other]], P[:, image, [other, one] if swap else [one, other]])
            swapped.append(swap)
        seen.add(tuple(swapped))
    assert len(seen) > 8, "each image has a permutation of its own, another one in every step"


logits_of = st.lists(
    st.lists(st.lists(st.floats(-8, 8), min_size=5, max_size=5), min_size=4, max_size=4), min_size=2, max_size=3
)
labels_of = st.lists(st.integers(0, 4), min_size=4, max_size=4)


@settings(max_examples=25, derandomize=True)
@given(logits_of, labels_of, st.sampled_from(SIGNALS), st.integers(0, 2**31))
def test_what_is_taught_is_a_distribution_without_gradient_and_keeps_what_it_should(values, labels, signal, seed):
    logits, targets = torch.tensor(values, dtype=torch.float64, requires_grad=True), torch.tensor(labels)
    log_p = logits.log_softmax(-1)
    found = destroyed(log_p, signal, targets, draws(seed))
    p, q = log_p.detach().exp(), found.exp()
    assert not found.requires_grad
    assert torch.allclose(q.sum(-1), torch.ones_like(q.sum(-1)))
    assert torch.equal(found, destroyed(log_p, signal, targets, draws(seed))), "a function of the state of the draws"
    if signal == "other_images":
        assert torch.allclose(q.sum(1), p.sum(1)), "the same distributions, of other images"
    if signal == "wrong_classes":
        assert torch.allclose(q.sort(-1).values, p.sort(-1).values), "as sharp as before"
    if signal == "class_means":
        member = F.one_hot(targets, 5).double()
        assert torch.allclose(member.T @ q, member.T @ p), "the mean of each class stays"


def test_the_divergence_of_a_placebo_is_that_of_what_is_taught():
    log_p = P.log()
    for signal in SIGNALS:
        q = destroyed(log_p, signal, LABELS, draws(7))
        by_hand = F.kl_div(log_p[1], q[0], log_target=True, reduction="batchmean")
        loss = LossSpec(teacher_signal=signal, pairing=("stage2>main",), main_weight=0, branch_weight=0)
        terms = objective_for(loss, NAMES[1:])(named(log_p), LABELS, draws=draws(7))
        assert terms.total.item() == pytest.approx(by_hand.item(), rel=1e-10), signal
        assert torch.allclose(terms.synergy, pairwise_kl(log_p)), "reported: how far they are apart"


def test_only_students_learn_and_from_the_destroyed_signal():
    leaf = some_logits().requires_grad_()
    loss = LossSpec(teacher_signal="uniform", pairing=("stage1>main",), main_weight=0, branch_weight=0)
    objective_for(loss, NAMES)(named(leaf), torch.zeros(6, dtype=torch.int64)).total.backward()
    assert leaf.grad[:2].abs().max() == 0
    assert torch.allclose(leaf.grad[2], (leaf.detach()[2].softmax(-1) - 1 / 4) / 6)


def test_sizes_of_gradients_by_hand():
    sizes = gradient_sizes(P.log(), taught("uniform").log())
    by_hand = sqrt(float(((P[1] - 1 / 3) ** 2).sum()))
    assert sizes[0, 1].item() == sizes[1, 1].item() == pytest.approx(by_hand, rel=1e-12)


def gradient(loss, logits, targets, seed=3):
    """By the logits of `main`, which stage1 alone teaches, with nothing supervised."""
    leaf = logits.clone().requires_grad_()
    given = {"pairing": ("stage1>main",), "main_weight": 0, "branch_weight": 0, **loss}
    objective_for(LossSpec(**given), NAMES)(named(leaf), targets, draws=draws(seed)).total.backward()
    return leaf.grad[2]


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("more", [{}, {"temperature": 2.5, "temperature_squared": True}, {"smoothing": 1e-3}])
def test_a_kept_gradient_is_as_large_as_that_of_knowledge_and_points_where_the_placebo_does(signal, more):
    logits, targets = some_logits(), torch.tensor([0, 0, 1, 2, 3, 1])
    knowledge, free = (gradient({**more, "teacher_signal": each}, logits, targets) for each in ("knowledge", signal))
    kept = gradient({**more, "teacher_signal": signal, "keep_gradient_size": True}, logits, targets)
    assert kept.norm().item() == pytest.approx(knowledge.norm().item(), rel=1e-9)
    assert torch.allclose(kept / kept.norm(), free / free.norm())
    assert abs(free.norm() - knowledge.norm()) > 1e-6


def test_where_the_placebo_has_no_gradient_nothing_is_learned():
    logits = torch.zeros(3, 4, 5, dtype=torch.float64)
    logits[0, :, 1] = 3.0  # stage1 knows something, main is uniform: nothing pulls it there
    found = gradient({"teacher_signal": "uniform", "keep_gradient_size": True}, logits, torch.zeros(4).long())
    assert torch.equal(found, torch.zeros_like(found))


def test_a_step_is_a_function_of_its_draws_and_pairs_that_are_left_out_are_drawn_first():
    loss = LossSpec(teacher_signal="other_images", pair_dropout=0.5)
    objective, targets = objective_for(loss, NAMES), torch.tensor([0, 0, 1, 2, 3, 1])
    totals = [objective(named(some_logits()), targets, draws=draws(seed)).total.item() for seed in (1, 1, 2)]
    assert totals[0] == totals[1] != totals[2]
    plain = objective_for(LossSpec(pair_dropout=0.5), NAMES)
    kept = [each._kept(torch.ones(3, 3), draws(5)) for each in (objective, plain)]
    assert torch.equal(*kept)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"keep_gradient_size": True}, "keep_gradient_size: must be left out with teacher_signal knowledge, got true"),
        ({"teacher_signal": "uniform", "pairing": "none"}, "teacher_signal: must be left out with pairing none"),
        ({"teacher_signal": "uniform", "detach_teacher": False}, "teacher_signal: must be left out with detach_"),
        ({"teacher_signal": "noise"}, "Input should be 'knowledge', "),
    ],
)
def test_what_makes_no_placebo_is_refused(loss, message):
    with pytest.raises(ValidationError) as error:
        LossSpec(**loss)
    assert message in str(error.value)


def test_in_a_loop_of_ones_own_a_placebo_needs_what_it_permutes_by():
    logits, classes = named(some_logits()), torch.tensor([0, 0, 1, 2, 3, 1])
    for signal in DRAWN:
        with pytest.raises(LoopError, match=r"draws: must be a torch\.Generator on the CPU"):
            SynergyLoss(teacher_signal=signal)(logits, classes)
    with pytest.raises(LoopError, match=r"targets: must be classes, int64 \[B\], with teacher_signal class_means"):
        SynergyLoss(teacher_signal="class_means")(logits, F.one_hot(classes, 4).double())
    assert SynergyLoss(teacher_signal="uniform")(logits, F.one_hot(classes, 4).double()).total > 0
    assert SynergyLoss(teacher_signal="wrong_classes")(logits, classes, draws=draws()).total > 0
