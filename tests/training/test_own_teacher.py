"""The network at another time as its own teacher: at which time it is, that a trial goes on with it, what it costs."""

import copy
from dataclasses import replace

import pytest
import torch
from studies import small_study
from test_trainer import HERE, lasting

from dks_study.method.networks import build_network, own_network, teacher_of
from dks_study.spec.cohort import TeacherSpec
from dks_study.spec.files import load_study
from dks_study.spec.loss import LossSpec
from dks_study.spec.study import arm_trial
from dks_study.spec.yamldoc import SpecError
from dks_study.study.export import trained_network
from dks_study.study.identity import environment, origin_of
from dks_study.training.averaging import Average, OwnTeacher
from dks_study.training.checkpoint import load_state
from dks_study.training.cost import count_cost
from dks_study.training.data import load
from dks_study.training.trainer import Chosen, fit

HINT = "hint/teacher.stage2>stage2"
SMALL = {"name": "resnet", "depth": 8, "base_channels": 2}
OWN = {"average": {"own": "average", "ema_decay": 0.8}, "last_epoch": {"own": "last_epoch"}, "start": {"own": "start"}}
TEACHER, MINE = "network.teacher.network.", "network.own.backbone."
OPTIMISER = {"lr": 0.05, "batch_size": 100}
TERMS = {"hint": {"kind": "hint", "pairs": ["teacher.stage2>stage2"], "adapter": "pool"}}


def taught(own, epochs=2, **trial):
    """A trial without branches that the network itself teaches."""
    keys = {"backbone": SMALL, "teacher": OWN[own], "loss": {"pairing": ["teacher>main"], "terms": TERMS}, **trial}
    data = {"name": "digits", "train_images": 300}
    study = small_study(trials=0, arms=("ds",), branches={"taps": []}, **{"data": data, "optimiser": OPTIMISER, **keys})
    study = study.model_copy(update={"arms": {"ds": {}}})
    return arm_trial(study, "ds", {}, epochs=epochs, phase="confirm", seed=0)


def part(state, prefix):
    """The weights of a network among those of a state."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def after_each_epoch(trial):
    return [copy.deepcopy(report.state.network) for report in fit(trial, load(trial.data), HERE)]


def test_the_average_is_the_recursion_for_weights_and_statistics_and_begins_as_the_network_does():
    torch.manual_seed(0)
    net = build_network(taught("average"), 1, 10, 0)
    own, teacher = own_network(net).backbone, teacher_of(net)
    follower = OwnTeacher(TeacherSpec(own="average", ema_decay=0.8), net)
    expected = {name: value.clone() for name, value in own.state_dict().items()}
    assert same(expected, teacher.state_dict())
    for _ in range(3):
        follower.begin_epoch()
        with torch.no_grad():
            for parameter in own.parameters():
                parameter += torch.randn_like(parameter)
        net.train()(torch.randn(8, 1, 8, 8))
        follower.follow_step()
        for name, value in own.state_dict().items():
            expected[name] = 0.8 * expected[name] + 0.2 * value if value.is_floating_point() else value.clone()
    for name, value in teacher.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_the_last_epoch_teaches_the_next_one_and_in_the_first_one_the_start():
    trial = taught("last_epoch")
    first, second = after_each_epoch(trial)
    start = build_network(trial, 1, 10, trial.seed).state_dict()
    for before, after in ((start, first), (first, second)):
        assert same(part(after, TEACHER), part(before, MINE))
        assert not same(part(after, TEACHER), part(after, MINE))


@pytest.mark.slow
def test_the_start_stays_what_it_was():
    trial = taught("start", epochs=1)
    start = build_network(trial, 1, 10, trial.seed).state_dict()
    assert same(part(after_each_epoch(trial)[-1], TEACHER), part(start, MINE))


@pytest.mark.parametrize(
    ("own", "optimiser"),
    [
        ("last_epoch", {}),
        ("average", {"ema_decay": 0.9}),
        pytest.param("average", {}, marks=pytest.mark.slow),
        pytest.param("last_epoch", {"ema_decay": 0.9}, marks=pytest.mark.slow),
        pytest.param("start", {}, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_has_the_teacher_of_the_uninterrupted_one(tmp_path, own, optimiser):
    trial = taught(own, optimiser=OPTIMISER | optimiser)
    data = load(trial.data)
    _, last = fit(trial, data, HERE)
    run = fit(trial, data, HERE)
    first = next(run)
    first.state.save(tmp_path / "last.pt")
    run.close()
    state = load_state(tmp_path / "last.pt", trial.content_hash())
    (resumed,) = fit(trial, data, HERE, state, Chosen(1, first.metrics["val/top1/main"], copy.deepcopy(state.shipped)))
    assert lasting(resumed.metrics) == lasting(last.metrics)
    assert min(last.metrics[f"train/{key}"] for key in ("kl/teacher>main", f"term/{HINT}", "loss/teacher")) > 0
    for kind in ("network", "averaged"):
        assert same(getattr(last.state, kind) or {}, getattr(resumed.state, kind) or {})


def test_what_is_evaluated_has_the_teacher_that_trains():
    """The average of all weights has no second, older teacher: it shares the one there is."""
    trial = taught("last_epoch", epochs=1, optimiser={**OPTIMISER, "ema_decay": 0.9})
    *_, last = fit(trial, load(trial.data), HERE)
    assert same(part(last.state.averaged, TEACHER), part(last.state.network, TEACHER))
    assert not same(part(last.state.averaged, MINE), part(last.state.network, MINE))
    shipped = trained_network(trial, last.state)
    assert same(shipped.backbone.state_dict(), part(last.state.averaged, MINE))


def test_a_frozen_teacher_is_no_part_of_an_average():
    net = build_network(taught("start"), 1, 10, 0)
    average = Average(net, 0.5)
    assert teacher_of(average.network) is teacher_of(net)
    assert own_network(average.network) is not own_network(net)


@pytest.mark.parametrize(
    "own", [pytest.param(each, marks=() if each == "average" else pytest.mark.slow) for each in OWN]
)
def test_it_costs_a_forward_pass_and_no_weight_that_is_trained_or_ships(own):
    cost, alone = (
        count_cost(build_network(trial, 1, 10, 0), (1, 8, 8))
        for trial in (taught(own), taught(own).model_copy(update={"teacher": None, "loss": LossSpec(pairing="none")}))
    )
    assert cost == replace(alone, macs_train=2 * alone.macs_train)


@pytest.mark.slow
def test_it_has_an_origin_without_a_file():
    origin = origin_of(taught("average"), environment(torch.device("cpu")))
    assert origin is not None
    assert "teacher.weights" not in origin


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("{}", "teacher.weights: must be given, or own, got null"),
        ("{weights: a.pt}", "teacher.backbone: must be given, or own, got null"),
        ("{own: start, weights: a.pt}", 'teacher.weights: must be left out with own start, got "a.pt"'),
        (
            "{own: start, backbone: {name: resnet, depth: 8}}",
            "teacher.backbone: must be left out with own start, got {",
        ),
        ("{own: average}", "teacher.ema_decay: must be given with own average and left out otherwise, got null with"),
        ("{own: start, ema_decay: 0.9}", "left out otherwise, got 0.9 with own start"),
        ("{own: average, ema_decay: 1.0}", "teacher.ema_decay: must be below 1, got 1"),
        ("{own: peers}", "teacher.own: must be average, last_epoch or start, got"),
        ("{own: average, decay: 0.9}", "teacher.decay: unknown key, did you mean ema_decay?"),
    ],
)
def test_what_is_no_teacher_is_told_in_one_line(teacher, message):
    with pytest.raises(SpecError) as caught:
        load_study("does_it_help", None, [f"arms.dks.teacher={teacher}"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_weight_of_labels_falls_by_at_most_all_of_it():
    with pytest.raises(ValueError, match="main_fall"):
        LossSpec(main_fall=1.5)
    with pytest.raises(SpecError, match=r"loss\.main_fall: must be at most 1, got 1\.5"):
        load_study("does_it_help", None, ["arms.dks.loss.main_fall=1.5"])


def test_an_axis_over_the_decay_begins_with_the_arm_s_own():
    axis = "search.axes.teacher.ema_decay={float: [0.5, 0.99], arms: [mean_teacher]}"
    study = load_study("against_the_family", None, [axis])
    assert study.axes_of("mean_teacher")["teacher.ema_decay"].contains(0.9)
