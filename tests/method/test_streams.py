import hashlib
from contextlib import nullcontext

import pytest
import torch

from dks_study.method.streams import derive, generator, seed_step, seeded


def test_a_stream_is_the_same_on_every_machine():
    expected = int.from_bytes(hashlib.sha256(b'[7, "data", 3]').digest()[:8], "big") >> 1
    assert derive(7, "data", 3) == expected
    assert all(0 <= derive(seed, "a") < 2**63 for seed in range(200))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "a"), (1, "a")),
        ((0, "a"), (0, "b")),
        ((0, "ab", "c"), (0, "a", "bc")),
        ((0, "1"), (0, 1)),
        ((0, "a"), (0, "a", 0)),
    ],
)
def test_different_names_are_different_streams(one, other):
    assert derive(*one) != derive(*other)


def test_a_generator_starts_at_the_beginning_of_its_stream():
    first, again, other = (torch.rand(4, generator=generator(3, name)) for name in ("x", "x", "y"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_seeded_fixes_construction_and_puts_the_global_generator_back():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1, "backbone"):
        one = torch.nn.Linear(3, 3).weight
    assert torch.equal(torch.rand(3), expected)
    with seeded(1, "backbone"):
        two = torch.nn.Linear(3, 3).weight
    with seeded(2, "backbone"):
        three = torch.nn.Linear(3, 3).weight
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_seeded_puts_the_generator_back_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(1, "x"):
        torch.rand(1 // 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_seeded_leaves_accelerators_alone(monkeypatch):
    def refuse(seed):
        raise AssertionError("an accelerator was reseeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    with seeded(1, "x"):
        torch.rand(1)


def test_a_step_draws_what_it_would_after_torch_manual_seed(monkeypatch):
    torch.manual_seed(2**62 + 3)
    expected = torch.nn.functional.dropout(torch.ones(50))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("other devices are not seeded"))
    seed_step(torch.device("cpu"), 2**62 + 3)
    assert torch.equal(torch.nn.functional.dropout(torch.ones(50)), expected)


def test_a_step_on_a_gpu_seeds_it_alone(monkeypatch):
    entered, seeds = [], []
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(entered.append(device)))
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    seed_step(torch.device("cuda", 1), 7)
    assert (entered, seeds) == ([torch.device("cuda", 1)], [7])
