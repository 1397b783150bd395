"""Named terms, each against its formula written out by hand in float64, one number at a time."""

import math

import numpy as np
import pytest
import torch
from pseudo import pseudo

from dks_study import SynergyLoss
from dks_study.method import terms
from dks_study.method.own_loss import LoopError
from dks_study.method.synergy import objective_for
from dks_study.spec.loss import LossSpec
from dks_study.spec.terms import TermSpec

B, T, ALPHA, BETA = 3, 4.0, 0.7, 2.5
NAMES = ("teacher", "main")
TARGETS = torch.tensor([0, 4, 2])
DKD = {"kind": "dkd", "target_weight": ALPHA, "rest_weight": BETA, "temperature": T}


def made_up(name, *shape):
    return (pseudo(name, shape) - 0.4) * 3


def pooled(maps, size):
    """Mean over equal tiles: [B, C, H, W] -> [B, C, size, size]."""
    step = maps.shape[2] // size
    small = np.zeros((*maps.shape[:2], size, size))
    for b, c, y, x in np.ndindex(*small.shape):
        small[b, c, y, x] = maps[b, c, y * step : (y + 1) * step, x * step : (x + 1) * step].mean()
    return small


def by_hand_hint(u, v):
    total = sum((u[at] - v[at]) ** 2 for at in np.ndindex(*u.shape))
    return total / u.size


def by_hand_attention(teacher, student):
    batch, _, height, width = teacher.shape
    total = 0.0
    for b in range(batch):
        maps = []
        for feature in (teacher, student):
            q = {yx: sum(value**2 for value in feature[(b, slice(None), *yx)]) for yx in np.ndindex(height, width)}
            norm = math.sqrt(sum(value**2 for value in q.values()))
            maps.append({yx: value / norm for yx, value in q.items()})
        total += sum((maps[0][yx] - maps[1][yx]) ** 2 for yx in maps[0])
    return total / (batch * height * width)


def by_hand_flow(first, second):
    batch, channels, height, width = first.shape
    flow = np.zeros((batch, channels, second.shape[1]))
    for b, i, j in np.ndindex(*flow.shape):
        flow[b, i, j] = sum(first[b, i, y, x] * second[b, j, y, x] for y, x in np.ndindex(height, width))
    return flow / (height * width)


def by_hand_embedding(teacher, student):
    return sum((student[at] - teacher[at]) ** 2 for at in np.ndindex(*teacher.shape)) / len(teacher)


def by_hand_dkd(teacher, student, targets):
    total = 0.0
    for b, target in enumerate(targets):
        p, q = ([math.exp(z / T) for z in logits[b]] for logits in (teacher, student))
        p, q = ([each / sum(values) for each in values] for values in (p, q))
        rest = [k for k in range(len(p)) if k != target]
        pairs = ((p[target], q[target]), (1 - p[target], 1 - q[target]))
        of_target = sum(a * math.log(a / b) for a, b in pairs)
        of_rest = sum(
            p[k] / (1 - p[target]) * math.log(p[k] / (1 - p[target]) / (q[k] / (1 - q[target]))) for k in rest
        )
        total += T**2 * (ALPHA * of_target + BETA * of_rest)
    return total / len(targets)


def test_hint():
    u, v = made_up("u", B, 4, 2, 2), made_up("v", B, 4, 2, 2)
    assert terms.hint(u, v).item() == pytest.approx(by_hand_hint(u.numpy(), v.numpy()), rel=1e-12)


def test_a_larger_map_is_pooled_to_the_smaller_whichever_it_is():
    small, large = made_up("small", B, 4, 2, 2), made_up("large", B, 4, 6, 6)
    expected = by_hand_hint(small.numpy(), pooled(large.numpy(), 2))
    assert terms.hint(small, large).item() == pytest.approx(expected, rel=1e-12)
    assert terms.hint(large, small).item() == pytest.approx(expected, rel=1e-12)


def test_attention_of_other_widths_and_sizes():
    teacher, student = made_up("teacher", B, 5, 2, 2), made_up("student", B, 3, 4, 4)
    expected = by_hand_attention(teacher.numpy(), pooled(student.numpy(), 2))
    assert terms.attention(teacher, student).item() == pytest.approx(expected, rel=1e-12)
    assert terms.attention(teacher, 7.0 * teacher).item() == pytest.approx(0.0, abs=1e-15), "scale is no attention"


def test_flow_between_two_taps():
    sizes = {"teacher": (3, 8), "student": (3, 4)}
    maps = {}
    for name, (channels, pixels) in sizes.items():
        maps[name] = (
            made_up(f"{name}1", B, channels, pixels, pixels),
            made_up(f"{name}2", B, 6, pixels // 2, pixels // 2),
        )
    flows = [by_hand_flow(pooled(a.numpy(), b.shape[2]), b.numpy()) for a, b in maps.values()]
    expected = sum((flows[0][at] - flows[1][at]) ** 2 for at in np.ndindex(B, 3, 6)) / (B * 3 * 6)
    assert terms.fsp(*maps["teacher"], *maps["student"]).item() == pytest.approx(expected, rel=1e-11)


def test_embedding():
    teacher, student = made_up("teacher", B, 7), made_up("student", B, 7)
    expected = by_hand_embedding(teacher.numpy(), student.numpy())
    assert terms.embedding(teacher, student).item() == pytest.approx(expected, rel=1e-12)


def test_decoupled_kd():
    teacher, student = made_up("teacher", B, 5), made_up("student", B, 5)
    term = TermSpec(pairs=("teacher>main",), **DKD)
    expected = by_hand_dkd(teacher.tolist(), student.tolist(), TARGETS.tolist())
    assert terms.dkd(teacher, student, TARGETS, term).item() == pytest.approx(expected, rel=1e-12)


def test_decoupled_kd_with_the_weights_of_kd_is_kd():
    """Equation 6 of the paper: KL = KL of the true class + (1 - p of it) KL of the others, for one image."""
    teacher, student = made_up("teacher", 1, 5), made_up("student", 1, 5)
    rest = 1 - torch.softmax(teacher / T, 1)[0, 4].item()
    values = DKD | {"target_weight": 1.0, "rest_weight": rest}
    found = terms.dkd(teacher, student, torch.tensor([4]), TermSpec(pairs=("teacher>main",), **values))
    p, q = (torch.softmax(each / T, 1) for each in (teacher, student))
    assert found.item() == pytest.approx(T**2 * (p * (p / q).log()).sum().item(), rel=1e-10)


def test_decoupled_kd_of_confident_classifiers_stays_finite():
    teacher, student = torch.tensor([[1e3, 0.0, -1e3]]), torch.tensor([[-1e3, 0.0, 1e3]], requires_grad=True)
    value = terms.dkd(teacher, student, torch.tensor([0]), TermSpec(kind="dkd", pairs=("teacher>main",)))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


FEATURES = {
    "hint": (((2, 4, 4),), ((2, 4, 4),)),
    "attention": (((5, 2, 2),), ((3, 4, 4),)),
    "fsp": (((3, 4, 4), (5, 2, 2)), ((3, 4, 4), (5, 2, 2))),
    "embedding": (((6,),), ((6,),)),
}
PAIRS = {"fsp": "teacher.a+b>a+b", "embedding": "teacher>main"}


def compared(kind):
    sides = []
    for who, shapes in zip(("teacher", "student"), FEATURES[kind], strict=True):
        made = (made_up(f"{who}{shape}{at}", B, *shape) for at, shape in enumerate(shapes))
        sides.append(tuple(each.requires_grad_() for each in made))
    return tuple(sides)


def objective_of(kind, weight=1.0, **keys):
    pair = "teacher>main" if kind == "dkd" else PAIRS.get(kind, "teacher.a>a")
    term = {"kind": kind, "pairs": (pair,), "weight": weight, **keys}
    loss = LossSpec.model_validate({"pairing": "none", "terms": {"it": term}}, strict=False)
    return objective_for(loss, NAMES), f"it/{pair}"


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("kind", FEATURES)
def test_the_student_alone_has_a_gradient_unless_teachers_learn(kind, detach):
    objective, key = objective_of(kind)
    loss = objective.loss.model_copy(update={"detach_teacher": detach})
    teacher, student = compared(kind)
    logits = {name: made_up(name, B, 5) for name in NAMES}
    found = objective_for(loss, NAMES)(logits, TARGETS, features={key: (teacher, student)})
    found.total.backward()
    assert all(each.grad.abs().max() > 0 for each in student)
    assert all((each.grad is None) == detach for each in teacher)
    assert not found.terms[key].requires_grad


def test_so_it_is_with_decoupled_kd():
    objective, _ = objective_of("dkd")
    logits = {name: made_up(name, B, 5).requires_grad_() for name in NAMES}
    alone = objective_for(LossSpec(pairing="none"), NAMES)
    before = torch.autograd.grad(alone(logits, TARGETS).total, logits["main"])[0]
    objective(logits, TARGETS).total.backward()
    assert logits["teacher"].grad.abs().max() == 0, "of its cross-entropy, which weighs nothing"
    assert (logits["main"].grad - before).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [*FEATURES, "dkd"])
@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.1, 0.5), (0.9, 1.0)])
def test_a_term_enters_the_total_with_its_weight_and_warm_up(kind, progress, share):
    objective, key = objective_of(kind, weight=0.3, warmup=0.2)
    logits, features = {name: made_up(name, B, 5) for name in NAMES}, {}
    if kind != "dkd":
        features[key] = compared(kind)
    found = objective(logits, TARGETS, progress, features=features)
    without = objective_for(LossSpec(pairing="none"), NAMES)(logits, TARGETS)
    assert (found.total - without.total).item() == pytest.approx(0.3 * share * found.terms[key].item(), rel=1e-9)
    assert found.terms[key] > 0


def test_pairs_of_a_term_are_summed_and_a_scheme_stands_for_its_pairs():
    names = ("stage1", "stage2", "main")
    logits = {name: made_up(name, B, 5) for name in names}
    loss = LossSpec(pairing="none", terms={"it": TermSpec(pairs=("from_main",), **DKD)})
    found = objective_for(loss, names)(logits, TARGETS)
    assert set(found.terms) == {"it/main>stage1", "it/main>stage2"}
    without = objective_for(LossSpec(pairing="none"), names)(logits, TARGETS)
    assert (found.total - without.total).item() == pytest.approx(sum(map(float, found.terms.values())), rel=1e-9)


@pytest.mark.parametrize("kind", FEATURES)
def test_half_precision_is_promoted(kind):
    objective, key = objective_of(kind)
    halves = tuple(tuple(each.detach().bfloat16() for each in side) for side in compared(kind))
    exact = tuple(tuple(each.float() for each in side) for side in halves)
    logits = {name: made_up(name, B, 5).float() for name in NAMES}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = objective(logits, TARGETS, features={key: halves})
    assert found.terms[key].dtype == torch.float32
    assert torch.equal(found.terms[key], objective(logits, TARGETS, features={key: exact}).terms[key])


def test_features_that_are_not_given_are_missed():
    objective, _ = objective_of("hint")
    with pytest.raises(KeyError, match=r"it/teacher\.a>a"):
        objective({name: made_up(name, B, 5) for name in NAMES}, TARGETS)


def test_decoupled_kd_in_a_loop_of_one_s_own():
    term = {"kind": "dkd", "pairs": ["teacher>main"], "weight": 0.5}
    logits = {name: made_up(name, B, 5) for name in NAMES}
    found = SynergyLoss(pairing="none", terms={"it": term})(logits, TARGETS)
    assert set(found.terms) == {"it/teacher>main"}
    without = SynergyLoss(pairing="none")(logits, TARGETS)
    assert (found.total - without.total).item() == pytest.approx(0.5 * found.terms["it/teacher>main"].item(), rel=1e-9)


@pytest.mark.parametrize(
    ("term", "targets", "message"),
    [
        (
            {"kind": "hint", "pairs": ["a>b"]},
            TARGETS,
            r"^terms\.it\.kind: must be dkd in a loop of one's own, .* got 'hint'",
        ),
        (
            {"kind": "dkd", "pairs": ["peer1.main>main"]},
            TARGETS,
            r"terms\.it\.pairs: .* got 'peer1\.main' in 'peer1\.main",
        ),
        ({"kind": "dkd", "pairs": ["teacher>main"]}, torch.rand(3, 5), "^targets: must be classes, int64"),
        (
            {"kind": "dkd", "pairs": ["teacher>main"], "warmup": 0.1},
            TARGETS,
            "^progress: must be given with .* term's warmup",
        ),
    ],
)
def test_what_such_a_loop_cannot_do_is_told_in_one_line(term, targets, message):
    with pytest.raises(LoopError, match=message) as caught:
        SynergyLoss(pairing="none", terms={"it": term})({name: made_up(name, B, 5) for name in NAMES}, targets)
    assert "\n" not in str(caught.value)
