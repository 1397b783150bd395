"""Watching a network: what is seen, what is refused, and that nothing is left behind."""

import threading
from collections import namedtuple
from dataclasses import dataclass

import own_networks
import pytest
import torch
from torch import nn

from dks_study.method.probing import probe
from dks_study.method.tapping import pick_logits, run_tapped

IMAGES = torch.rand(2, 3, 16, 16)
Pair = namedtuple("Pair", "logits aux")


def hooks(model):
    return {name: dict(module._forward_hooks) for name, module in model.named_modules()}


def test_features_are_those_of_the_run_in_the_order_in_which_modules_end():
    model = own_networks.Nested(3, 5).eval()
    result, seen = run_tapped(model, IMAGES, ["1", "0.1", "0", "0.0"])
    assert list(seen) == ["0.0", "0.1", "0", "1"]
    assert torch.equal(seen["0"], model[0](IMAGES))
    assert torch.equal(seen["1"], model[1](model[0](IMAGES)))
    assert torch.equal(result, model(IMAGES))


def test_the_first_run_of_a_shared_module_counts():
    model = own_networks.Shared(3, 5)
    _, seen = run_tapped(model, IMAGES, ["block"])
    assert torch.equal(seen["block"], model.block(model.stem(IMAGES)))


def test_nothing_is_left_on_the_network_even_when_it_fails():
    model = own_networks.Functional(3, 5)
    ran = []
    handle = model.b.register_forward_hook(lambda module, arguments, output: ran.append(1) or output + 1)
    tables, before = {name: module._forward_hooks for name, module in model.named_modules()}, hooks(model)
    _, seen = run_tapped(model, IMAGES, ["a", "b", "b"])
    assert ran == [1]
    assert torch.equal(seen["b"], model.b(torch.relu(model.a(IMAGES))))  # with what the user's hook makes of it
    with pytest.raises(RuntimeError, match="expected input"):
        run_tapped(model, torch.rand(2, 4, 16, 16), ["a", "b"])
    with pytest.raises(AttributeError, match="nowhere"):
        run_tapped(model, IMAGES, ["a", "nowhere"])
    assert hooks(model) == before
    assert all(module._forward_hooks is tables[name] for name, module in model.named_modules())
    handle.remove()
    assert not model.b._forward_hooks


def test_threads_that_share_a_network_do_not_see_each_other():
    model = own_networks.Nested(3, 5).eval()
    batches = [torch.rand(2, 3, 16, 16) for _ in range(8)]
    wanted = [model[0](batch) for batch in batches]
    wrong = []

    def work(at):
        for _ in range(20):
            seen = run_tapped(model, batches[at], ["0"])[1]
            wrong.extend([at] if not torch.equal(seen["0"], wanted[at]) else [])

    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not any(hooks(model).values())


# --- what it returns ---

LOGITS, OTHER = torch.rand(2, 5), torch.rand(2, 7)


@dataclass
class Answer:
    logits: torch.Tensor
    aux: torch.Tensor


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (LOGITS, None),
        ((LOGITS, OTHER), None),
        ([OTHER, LOGITS], None),
        ((OTHER, LOGITS), 1),
        ({"aux": OTHER, "out": LOGITS}, None),
        ({"aux": OTHER, "out": LOGITS}, "out"),
        (Pair(LOGITS, LOGITS + 1), "logits"),
        (Pair(LOGITS, LOGITS + 1), 0),
        (Pair(LOGITS, OTHER), None),
        (Answer(LOGITS, LOGITS + 1), "logits"),
        (Answer(LOGITS, OTHER), None),
    ],
)
def test_the_logits_are_found(result, output):
    assert pick_logits(result, output, 5) is LOGITS


@pytest.mark.parametrize(
    ("result", "output", "message"),
    [
        ((LOGITS, LOGITS + 1), None, r"\[B, 5\] among 0 \[2, 5\], 1 \[2, 5\], got nothing"),
        ((OTHER, OTHER), None, r"among 0 \[2, 7\], 1 \[2, 7\], got nothing"),
        ((LOGITS, OTHER), 2, r"among 0 \[2, 5\], 1 \[2, 7\], got 2"),
        ({"a": LOGITS}, "b", r"among a \[2, 5\], got 'b'"),
        ("text", None, "among str, got nothing"),
    ],
)
def test_logits_that_are_not_told_are_refused_in_one_line(result, output, message):
    with pytest.raises(ValueError, match=r"^output: must say which is the logits .*" + message):
        pick_logits(result, output, 5)


# --- probing ---


def test_a_probe_tells_channels_strides_order_and_what_follows():
    seen = probe(own_networks.Functional(3, 5), IMAGES)
    assert [(f.tap.name, f.tap.channels, f.tap.stride) for f in seen.features] == [
        ("a", 8, 2),
        ("b", 16, 4),
        ("c", 32, 8),
    ]
    assert [(tap.channels, tap.stride) for tap in seen.after("a")] == [(16, 4), (32, 8)]
    assert seen.after("c") == ()


def test_neither_a_detour_nor_global_pooling_is_a_stage():
    seen = probe(own_networks.Squeezed(3, 5), torch.rand(2, 3, 32, 32))
    assert [tap.name for tap in seen.after("one")] == ["two"]
    assert seen.after("two") == ()


def test_an_end_of_one_pixel_that_was_not_pooled_is_a_stage():
    seen = probe(own_networks.Nested(3, 5), torch.rand(2, 3, 8, 8))
    assert [tap.name for tap in seen.after("0")] == ["1", "2"]


def test_twins_put_out_one_tensor():
    seen = probe(own_networks.Nested(3, 5), IMAGES)
    assert seen.find("0").twins == {"0", "0.1", "0.1.1"}
    assert seen.find("0.0").twins == {"0.0"}


def test_a_probe_changes_nothing():
    class Counts(own_networks.Plain):
        def __init__(self):
            super().__init__(3, 5)
            self.register_buffer("runs", torch.zeros(()))
            self.dropout = nn.Dropout(0.5)

        def forward(self, images):
            self.runs += 1
            torch.rand(3)
            return super().forward(images)

    model = Counts().train()
    model.two.eval()
    modes = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    probe(model, IMAGES)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_is_not_there_is_answered_with_what_is():
    seen = probe(own_networks.Functional(3, 5), IMAGES)
    with pytest.raises(ValueError, match=r"^taps: must be modules that run and put .* a, b, c; got 'fc'$"):
        seen.find("fc")
    seen = probe(own_networks.WithStages(3, 5), IMAGES)
    with pytest.raises(ValueError, match=r"did you mean stages\.late\? stem, .* more \(named_modules\); got"):
        seen.find("stages.lat")


def test_channels_last_features_are_told_from_maps():
    class Swapped(own_networks.Functional):
        def __init__(self):
            super().__init__(3, 5)
            self.swap = nn.Identity()

        def forward(self, images):
            self.swap(self.a(images).permute(0, 2, 3, 1))
            return super().forward(images)

    features = {each.tap.name: each for each in probe(Swapped(), torch.rand(2, 3, 32, 32)).features}
    assert [each.arrangement for each in features.values()] == ["map", "map_last", "map", "map"]
    assert (features["swap"].tap.channels, features["swap"].pixels) == (
        features["a"].tap.channels,
        features["a"].pixels,
    )


def test_images_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"^it does not run on images \[2, 3, 16, 16\]: .*shapes cannot be multiplied"):
        probe(own_networks.OneSize(3, 5), IMAGES)
