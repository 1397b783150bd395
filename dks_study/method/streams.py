"""Random streams by name: every draw is a function of the run's seed and of what the draw is for.

There is no generator state to save: a resumed run derives the same stream again. Naming the streams also keeps them
apart, so that what one part draws (a branch, say) never shifts what another part draws (the backbone, the data).
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *name: str | int) -> int:
    """Return the seed of the stream `name` of a run: an integer in [0, 2**63), the same on every machine.

    Args:
        seed: the run's seed.
        *name: what the stream is for, from general to particular, such as ("augment", epoch, rank).
    """
    # JSON keeps the parts apart: ("a", "bc") is not ("ab", "c"), and 1 is not "1".
    digest = hashlib.sha256(json.dumps([seed, *name]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *name: str | int) -> torch.Generator:
    """Return a fresh CPU generator at the start of the stream `name`."""
    return torch.Generator().manual_seed(derive(seed, *name))


def seed_step(device: torch.device, seed: int) -> None:
    """Let what a network draws on `device` (dropout) follow from `seed`, as torch.manual_seed would.

    That one seeds every kind of device there is, and while CUDA is not in use it writes down a stack trace for each:
    most of a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def seeded(seed: int, *name: str | int) -> Iterator[None]:
    """Let code that draws from the global CPU generator (module construction) draw from the stream `name`.

    The global generator is put back afterwards. Generators of accelerators are neither seeded nor touched:
    build modules on the CPU and move them, so that initial weights do not depend on the device.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed every accelerator, which fork_rng(devices=[]) does not undo.
        torch.default_generator.manual_seed(derive(seed, *name))
        yield
