"""The schedule at the paper's milestones, and the parameters it acts on."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dks_study.spec.optimiser import OptimiserSpec
from dks_study.training.optim import build_optimiser, lr_at, prepare_step, set_lr, take_step


@pytest.mark.parametrize(("epoch", "lr"), [(1, 0.1), (60, 0.1), (61, 0.02), (120, 0.02), (121, 0.004), (161, 0.0008)])
def test_the_paper_drops_the_rate_after_epochs_60_120_and_160(epoch, lr):
    steps = 391
    for step in (0, steps - 1):
        progress = ((epoch - 1) * steps + step) / (200 * steps)
        assert lr_at(OptimiserSpec(milestones=(0.3, 0.6, 0.8), gamma=0.2), progress) == pytest.approx(lr)


@pytest.mark.parametrize("steps", [1, 7, 390, 391])
def test_the_rate_changes_between_two_epochs_and_nowhere_else(steps):
    spec, total = OptimiserSpec(lr=0.1, milestones=(0.3, 0.6, 0.8), gamma=0.2), 200 * steps
    rates = [lr_at(spec, step / total) for step in range(total)]
    assert [step for step in range(1, total) if rates[step] != rates[step - 1]] == [
        60 * steps,
        120 * steps,
        160 * steps,
    ]
    assert sorted(set(rates), reverse=True) == pytest.approx([0.1, 0.02, 0.004, 0.0008])


@settings(max_examples=50)
@given(
    milestones=st.lists(st.floats(0.01, 0.99), max_size=4, unique=True).map(sorted).map(tuple),
    gamma=st.floats(0.01, 1),
    lr=st.floats(1e-4, 1),
    schedule=st.sampled_from(["multistep", "cosine", "constant"]),
)
def test_no_schedule_ever_rises(milestones, gamma, lr, schedule):
    spec = OptimiserSpec(lr=lr, milestones=milestones, gamma=gamma, schedule=schedule)
    rates = [lr_at(spec, step / 60) for step in range(60)]
    assert rates[0] == lr
    assert all(0 < later <= earlier for earlier, later in pairwise(rates))
    if schedule == "multistep":
        assert lr_at(spec, 0.999) == pytest.approx(lr * gamma ** len(milestones))


def test_a_schedule_without_milestones_is_flat():
    assert {lr_at(OptimiserSpec(milestones=()), step / 10) for step in range(10)} == {0.1}


def test_cosine_falls_from_the_full_rate_towards_nothing():
    spec = OptimiserSpec(schedule="cosine", lr=0.4)
    rates = [lr_at(spec, step / 100) for step in range(100)]
    assert rates[0] == 0.4
    assert rates[50] == pytest.approx(0.2)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.001


def small_model():
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(3, 2)
    )


def test_weight_decay_acts_on_every_parameter_if_asked_and_the_rate_is_set():
    spec = OptimiserSpec(weight_decay=0.1, nesterov=True, decay_batch_norm=True)
    optimiser = build_optimiser(small_model().parameters(), spec)
    set_lr(optimiser, 0.03)
    (group,) = optimiser.param_groups
    assert (group["lr"], group["weight_decay"], group["nesterov"], len(group["params"])) == (0.03, 0.1, True, 6)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_without_being_asked_batch_norm_and_biases_do_not_decay(name):
    model = small_model()
    optimiser = build_optimiser(model.parameters(), OptimiserSpec(name=name, weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert {key: decay[id(value)] for key, value in model.named_parameters()} == {
        "0.weight": 0.1, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "3.weight": 0.1, "3.bias": 0.0,
    }  # fmt: skip
    set_lr(optimiser, 0.03)
    assert {group["lr"] for group in optimiser.param_groups} == {0.03}


def test_frozen_parameters_are_left_alone():
    model = small_model()
    model[0].requires_grad_(False)
    optimiser = build_optimiser(model.parameters(), OptimiserSpec())
    trained = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert trained == {id(p) for p in (*model[1].parameters(), *model[3].parameters())}


NO_SCALE = torch.amp.GradScaler("cpu", enabled=False)


def trained_weights(spec, steps):
    """The weights after `steps` steps on fixed random gradients, by our own functions."""
    weight = torch.nn.Parameter(torch.arange(6, dtype=torch.float64).view(2, 3) - 2)
    optimiser = build_optimiser([weight], spec)
    for done, gradient in enumerate(gradients(steps)):
        prepare_step(optimiser, spec, done, steps)
        weight.grad = gradient
        take_step(optimiser, NO_SCALE, spec)
        assert weight.grad is None
    return weight.detach()


def gradients(steps):
    return torch.randn(steps, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def sgd_by_hand(steps, lr, momentum, decay, resets=(), nesterov=False):
    weight, buffer = torch.arange(6, dtype=torch.float64).view(2, 3) - 2, 0
    for step, gradient in enumerate(gradients(steps)):
        buffer = 0 if step in resets else buffer
        gradient = gradient + decay * weight
        buffer = momentum * buffer + gradient
        weight = weight - lr(step) * (gradient + momentum * buffer if nesterov else buffer)
    return weight


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_the_textbook_recursion(nesterov):
    spec = OptimiserSpec(lr=0.2, momentum=0.8, weight_decay=0.05, nesterov=nesterov, schedule="constant")
    expected = sgd_by_hand(12, lambda _: 0.2, 0.8, 0.05, nesterov=nesterov)
    torch.testing.assert_close(trained_weights(spec, 12), expected, rtol=1e-12, atol=1e-12)


def test_reset_momentum_forgets_it_at_every_milestone_and_nowhere_else():
    spec = OptimiserSpec(
        lr=0.2, weight_decay=0.05, milestones=(0.25, 0.5), gamma=0.5, reset_momentum=True
    )  # of 12 steps: before steps 3 and 6
    rates = [0.2] * 3 + [0.1] * 3 + [0.05] * 6
    expected = sgd_by_hand(12, rates.__getitem__, 0.9, 0.05, resets=(3, 6))
    torch.testing.assert_close(trained_weights(spec, 12), expected, rtol=1e-12, atol=1e-12)
    kept = trained_weights(spec.model_copy(update={"reset_momentum": False}), 12)
    assert (kept - expected).abs().max() > 1e-3
    torch.testing.assert_close(kept, sgd_by_hand(12, rates.__getitem__, 0.9, 0.05), rtol=1e-12, atol=1e-12)


def test_adamw_is_the_published_recursion():
    lr, (beta1, beta2), decay = 0.01, (0.8, 0.95), 0.1
    weight = torch.arange(6, dtype=torch.float64).view(2, 3) - 2
    mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
    for step, gradient in enumerate(gradients(12), 1):
        weight = weight - lr * decay * weight
        mean, square = beta1 * mean + (1 - beta1) * gradient, beta2 * square + (1 - beta2) * gradient**2
        weight = weight - lr * mean / (1 - beta1**step) / ((square / (1 - beta2**step)).sqrt() + 1e-8)
    spec = OptimiserSpec(name="adamw", lr=lr, betas=(beta1, beta2), weight_decay=decay, schedule="constant")
    torch.testing.assert_close(trained_weights(spec, 12), weight, rtol=1e-12, atol=1e-12)


def test_gradients_are_clipped_to_their_norm_over_all_parameters_together():
    spec = OptimiserSpec(lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=1.0, schedule="constant")
    weights = [torch.nn.Parameter(torch.zeros(1, 2)), torch.nn.Parameter(torch.zeros(1))]
    optimiser = build_optimiser(weights, spec)
    weights[0].grad, weights[1].grad = torch.tensor([[2.0, 3.0]]), torch.tensor([6.0])  # the norm is 7
    take_step(optimiser, NO_SCALE, spec)
    assert weights[0].tolist()[0] == pytest.approx([-2 / 7, -3 / 7], rel=1e-5)
    assert weights[1].tolist() == pytest.approx([-6 / 7], rel=1e-5)
    weights[0].grad, weights[1].grad = torch.tensor([[0.2, 0.3]]), torch.tensor([0.6])  # below: left as it is
    take_step(optimiser, NO_SCALE, spec)
    assert weights[1].tolist() == pytest.approx([-6 / 7 - 0.6], rel=1e-5)


def test_clipping_sees_gradients_without_the_loss_scale():
    spec = OptimiserSpec(lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=5.0, schedule="constant")
    weight, scaler = torch.nn.Parameter(torch.zeros(1, 2)), torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimiser = build_optimiser([weight], spec)
    scaler.scale((weight * torch.tensor([[1.0, 2.0]])).sum()).backward()
    take_step(optimiser, scaler, spec)
    assert weight.tolist() == [[-1.0, -2.0]]


def test_a_first_step_that_overflowed_leaves_weights_and_momentum_as_they_were(monkeypatch):
    monkeypatch.setattr(torch, "empty_like", lambda like: torch.full_like(like, 7.0))  # memory as it comes
    spec = OptimiserSpec(lr=1.0, momentum=0.5, weight_decay=0.0, schedule="constant")
    weight, scaler = torch.nn.Parameter(torch.zeros(1, 2)), torch.amp.GradScaler("cpu", init_scale=4.0)
    optimiser = build_optimiser([weight], spec)
    for factor, expected in ((float("inf"), [0.0, 0.0]), (1.0, [-1.0, -2.0]), (0.0, [-1.5, -3.0])):
        scaler.scale((weight * torch.tensor([[1.0, 2.0]])).sum()).backward()
        weight.grad *= factor if factor else 1e-30
        take_step(optimiser, scaler, spec)
        assert weight.tolist() == [expected]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_layout_of_weights_does_not_matter(name):
    """Fused kernels go through memory: weights, gradients and momentum have to lie there in the same order."""
    spec, weights = OptimiserSpec(name=name, lr=0.1, schedule="constant"), []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(3, 4, 3)
        images = torch.rand(2, 3, 6, 6)
        layer.to(memory_format=memory_format)
        optimiser = build_optimiser(layer.parameters(), spec)
        for _ in range(3):
            layer(images).square().sum().backward()
            take_step(optimiser, NO_SCALE, spec)
        weights.append(layer.weight.detach())
    assert weights[0].stride() != weights[1].stride()
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)


def test_the_rate_warms_up_on_a_straight_line_and_then_follows_its_schedule():
    flat = OptimiserSpec(lr=0.4, schedule="constant", warmup=0.1)
    assert lr_at(flat, 0.0) == pytest.approx(0.004)
    assert lr_at(flat, 0.05) == pytest.approx(0.4 * (0.01 + 0.99 / 2))
    assert {lr_at(flat, progress) for progress in (0.1, 0.5, 0.99)} == {0.4}
    steps = OptimiserSpec(lr=0.4, warmup=0.1, milestones=(0.5,), gamma=0.25)
    assert [lr_at(steps, progress) for progress in (0.1, 0.49, 0.5)] == pytest.approx([0.4, 0.4, 0.1])
    cosine = OptimiserSpec(lr=0.4, warmup=0.2, schedule="cosine")
    assert lr_at(cosine, 0.1) == pytest.approx(0.4 * 0.505)
    assert lr_at(cosine, 0.2) == pytest.approx(0.4)
    assert lr_at(cosine, 0.6) == pytest.approx(0.2), "half of what is left"
    assert lr_at(cosine, 0.8) == pytest.approx(0.4 * (1 - 2**-0.5) / 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nesterov": True, "momentum": 0.0}, "nesterov: needs sgd with a momentum above 0, got sgd, momentum 0"),
        ({"nesterov": True, "name": "adamw"}, "nesterov: needs sgd with a momentum above 0, got adamw, momentum 0.9"),
        ({"reset_momentum": True, "name": "adamw"}, "reset_momentum: needs sgd with a momentum above 0 and schedule"),
        ({"reset_momentum": True, "schedule": "cosine"}, "multistep, got sgd, momentum 0.9, schedule cosine"),
        ({"reset_momentum": True, "momentum": 0.0}, "multistep, got sgd, momentum 0, schedule multistep"),
        ({"warmup": 0.4}, "warmup: must end by the first of milestones (0.3), got 0.4"),
        ({"warmup": 1.0}, "less than 1"),
        ({"accumulate": 65}, "accumulate: must leave two images in each part of a batch of 128, got 65"),
        ({"accumulate": 0}, "greater than or equal to 1"),
        ({"clip_norm": 0.0}, "greater than 0"),
        ({"ema_decay": 1.0}, "less than 1"),
        ({"betas": (0.9, 1.0)}, "less than 1"),
        ({"name": "adam"}, "'sgd' or 'adamw'"),
    ],
)
def test_what_does_not_fit_together_is_refused(values, message):
    with pytest.raises(ValueError, match="validation error") as caught:
        OptimiserSpec(**values)
    assert message in str(caught.value)
