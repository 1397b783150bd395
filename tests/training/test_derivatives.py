"""Terms on derivatives by the pixels: against derivatives taken one by one, in training on any network, told apart."""

import copy

import pytest
import torch
import torch.nn.functional as F
from pseudo import pseudo
from studies import small_study
from test_trainer import HERE, lasting
from torch import nn

from dks_study import SynergyLoss
from dks_study.method.derivatives import derivatives
from dks_study.method.own_loss import LoopError
from dks_study.method.synergy import objective_for
from dks_study.method.terms import gradient, jacobian
from dks_study.spec.files import load_study
from dks_study.spec.loss import LossSpec
from dks_study.spec.study import arm_trial
from dks_study.spec.terms import OF_IMAGES, TermSpec
from dks_study.spec.yamldoc import SpecError
from dks_study.training.data import load
from dks_study.training.trainer import Chosen, fit

TARGETS = torch.tensor([0, 3, 1])
NETWORKS = {
    "resnet": ({"name": "resnet", "depth": 8, "base_channels": 2}, ["stage1", "stage2"]),
    "vit": ({"name": "own_networks:tiny_vit"}, ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_2"]),
    "swin": ({"name": "own_networks:tiny_swin"}, ["features.1.0", "features.1"]),
}
by_kind = pytest.mark.parametrize("kind", OF_IMAGES)


def smooth(seed):
    """A network whose derivatives have derivatives."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4)).double()


def by_hand(kind, teacher, student, images):
    """The value of a pair, image by image, with derivatives from central differences."""
    values = []
    for at in range(len(images)):
        top = int(teacher(images[at : at + 1]).argmax())

        def said(network, x, top=top, at=at):
            z = network(x[None])[0]
            return z[top] if kind == "jacobian" else -torch.log_softmax(z, 0)[TARGETS[at]]

        sides = []
        for network in (teacher, student):
            moves = torch.eye(8, dtype=torch.float64).view(8, 1, 2, 4) * 1e-5
            with torch.no_grad():
                slopes = [(said(network, images[at] + m) - said(network, images[at] - m)) / 2e-5 for m in moves]
            sides.append(torch.stack(slopes))
        if kind == "jacobian":
            sides = [each / each.norm() for each in sides]
        values.append(((sides[1] - sides[0]) ** 2).sum() / 8)
    return sum(values) / len(values)


@by_kind
@pytest.mark.parametrize("soft", [False, True], ids=["classes", "distributions"])
def test_a_pair_is_its_formula(kind, soft):
    teacher, student, images = smooth(0), smooth(1), pseudo("images", (3, 1, 2, 4))
    targets = F.one_hot(TARGETS, 4).double() if soft else TARGETS
    x = images.clone().requires_grad_()
    sides = derivatives(kind, teacher(x), student(x), targets, x)
    found = {"gradient": gradient, "jacobian": jacobian}[kind](*sides)
    assert found.item() == pytest.approx(by_hand(kind, teacher, student, images).item(), rel=1e-7)
    found.backward()
    assert all(each.grad is None for each in teacher.parameters()), "the teacher is a constant"
    assert student[1].weight.grad.abs().max() > 1e-6


@by_kind
def test_it_enters_the_total_with_its_weight_and_pulls_the_student_to_the_teacher(kind):
    teacher, student, images = smooth(0), smooth(1), pseudo("images", (3, 1, 2, 4))
    names = ("teacher", "main")
    loss = LossSpec(
        pairing="none", main_weight=0.0, terms={"it": TermSpec(kind=kind, pairs=("teacher>main",), weight=0.3)}
    )
    objective, values = objective_for(loss, names), []
    optimiser = torch.optim.SGD(student.parameters(), lr=2.0)
    for _ in range(20):
        x = images.clone().requires_grad_()
        terms = objective({"teacher": teacher(x), "main": student(x)}, TARGETS, images=x)
        values.append(terms.terms["it/teacher>main"].item())
        assert terms.total.item() == pytest.approx(0.3 * values[-1], rel=1e-5)
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
    assert values[-1] < 0.7 * values[0]


def test_a_teacher_that_is_no_constant_gets_a_gradient():
    teacher, student = smooth(0), smooth(1)
    x = pseudo("images", (3, 1, 2, 4)).requires_grad_()
    gradient(*derivatives("gradient", teacher(x), student(x), TARGETS, x, detach_teacher=False)).backward()
    assert teacher[1].weight.grad.abs().max() > 1e-6


def trial_of(network, taught=True, **more):
    backbone, taps = NETWORKS[network]
    pair = "teacher>main" if taught else f"main>{taps[0]}"
    terms = {kind: {"kind": kind, "pairs": [pair], "weight": 2.0} for kind in OF_IMAGES}
    keys = {
        "backbone": backbone,
        "branches": {"taps": taps, "recipe": "linear"},
        "loss": {"terms": terms},
        "data": {"name": "digits", "train_images": 200},
        "optimiser": {"lr": 0.02, "batch_size": 100},
        "teacher": {"own": "last_epoch"} if taught else None,
        **more,
    }
    return arm_trial(small_study(trials=0, **keys), "ds", {}, epochs=2, phase="confirm", seed=0)


@pytest.mark.parametrize(
    ("network", "more"),
    [
        pytest.param("resnet", {"data": {"name": "digits", "train_images": 100}}, id="resnet"),
        pytest.param("resnet", {"compute": {"precision": "bfloat16"}}, marks=pytest.mark.slow, id="bfloat16"),
        pytest.param(
            "resnet",
            {"optimiser": {"ema_decay": 0.9, "batch_size": 100, "accumulate": 2}},
            marks=pytest.mark.slow,
            id="ema",
        ),
        pytest.param("resnet", {"data": {"name": "digits", "mixup_alpha": 0.2}}, marks=pytest.mark.slow, id="mixup"),
        pytest.param("vit", {}, marks=pytest.mark.slow),
        pytest.param("swin", {}, marks=pytest.mark.slow),
        pytest.param("swin", {"taught": False}, marks=pytest.mark.slow, id="branches"),
    ],
)
def test_a_network_trains_with_them_and_goes_on_as_if_it_had_never_stopped(network, more):
    trial = trial_of(network, **more)
    data = load(trial.data)
    first, last = (copy.deepcopy(report) for report in fit(trial, data, HERE))
    names = [key for key in last.metrics if "/term/" in key]
    assert len(names) == 2 * 4, "both in training, validation, and twice on the test set"
    assert all(last.metrics[name] > 0 for name in names)
    chosen = Chosen(1, first.metrics["val/top1/main"], first.state.shipped)
    (resumed,) = fit(trial, data, HERE, first.state, chosen)
    assert lasting(resumed.metrics) == lasting(last.metrics)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("{kind: gradient, pairs: [teacher.stage2>stage2]}", "pairs must join classifiers of this network"),
        ("{kind: jacobian, pairs: [main>teacher]}", "the frozen teacher is nobody's student"),
        ("{kind: jacobian, pairs: [teacher>main], adapter: conv}", "adapter: must be left out with kind jacobian"),
        (
            "{kind: gradient, pairs: [teacher>main], temperature: 2.0}",
            "temperature: must be left out with kind gradient",
        ),
    ],
)
def test_what_has_no_such_derivative_is_told_in_one_line(setting, message):
    with pytest.raises(SpecError) as caught:
        load_study("against_the_family", None, [f"arms.kd.loss.terms.h={setting}"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_is_not_compiled_and_not_for_a_loop_of_one_s_own():
    term = "arms.kd.loss.terms.h={kind: gradient, pairs: [teacher>main]}"
    with pytest.raises(
        SpecError, match=r"compute\.compile: must be false with terms of kind gradient and jacobian, which"
    ):
        load_study("against_the_family", None, ["trial.compute.compile=true", term])
    with pytest.raises(LoopError, match=r"^terms\.it\.kind: must be dkd in a loop of one's own, .* got 'jacobian'"):
        SynergyLoss(pairing="none", terms={"it": {"kind": "jacobian", "pairs": ["teacher>main"]}})
