"""A network that does on demand what no network should, and studies of it.

With `folder`, `deed` is done in the `at`-th training step of a process: `wait` until the file `go` is there, `fail`, or
`hoard` memory. A file claimed0 in the folder (claimed1 for rank 1) means that it has been done, and by which process.
"""

import os
import time
from pathlib import Path

import torch
from own_networks import WithStages
from torch import Tensor, nn
from whole_studies import wait_until, write_study

SPACE = """
question: Does it work?
profile: {profile}
arms:
  free: {{}}
  trapped: {{backbone.options: TRAP}}
table: {{title: Small, reference: free}}
"""
PROFILE = """
about: seconds
trial:
  backbone: {name: "faulty:Net"}
  branches: {taps: [stage1], recipe: linear}
  data: {name: digits, label_noise: 0.4}
  optimiser: {lr: 0.3, batch_size: 64}
  epochs: 4
search: {trials: 0}
report_seeds: [0, 1]
"""
STEPS_PER_EPOCH = 18  # 1,213 images in batches of 64


class Net(WithStages):
    """Two stages and perhaps a trap."""

    def __init__(self, in_channels: int, classes: int, width: int = 4, **trap: object) -> None:
        super().__init__(in_channels, classes, width)
        if trap:
            self.stem.append(Trap(**trap))


class Trap(nn.Module):
    """Lets images through; see above. `images`: only where a part of a batch has more; rank -1: any of a group."""

    def __init__(self, folder, deed, at=1, rank=0, images=0, once=True) -> None:
        super().__init__()
        self.folder, self.deed, self.once = Path(folder), DEEDS[deed], once
        self.at, self.rank, self.images, self.steps = at, rank, images, 0

    def forward(self, images: Tensor) -> Tensor:
        if self.training and not images.is_meta:
            self.steps += 1
            if self.steps >= self.at and len(images) > self.images and self._is_mine():
                self.deed(self.folder)
        return images

    def _is_mine(self) -> bool:
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        if self.rank not in (rank, -1):
            return False
        return claim(self.folder, rank) or not self.once


def claim(folder, rank=0) -> bool:
    """Say that this process does the deed, unless one did."""
    with (folder / "attempts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    try:
        with (folder / f"claimed{rank}").open("x") as file:
            file.write(f"{os.getpid()}\n")
    except FileExistsError:
        return False
    return True


def _wait(folder):
    while not (folder / "go").exists():
        time.sleep(0.05)


def _fail(_folder):
    raise RuntimeError("this network fails on purpose")


def _hoard(_folder):
    torch.empty(2**50, dtype=torch.uint8)


DEEDS = {"wait": _wait, "fail": _fail, "hoard": _hoard}


def trap(folder, deed, **options):
    """Return the options of a network, for YAML; the trap's folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {"folder": f'"{folder}"', "deed": deed, **options}
    return (
        "{"
        + ", ".join(f"{key}: {str(value).lower() if key == 'once' else value}" for key, value in words.items())
        + "}"
    )


def trapped_study(folder, deed, **options):
    """Write a study with a trap in one arm; return its space and the trap's folder."""
    trapped = folder / "trap"
    space = SPACE.replace("TRAP", trap(trapped, deed, **options).replace("{", "{{").replace("}", "}}"))
    return write_study(folder, space, PROFILE), trapped


def group_of(workers):
    """Return the settings of a study with so many workers; groups start slowly, so it has one seed."""
    return (f"trial.resources.workers={workers}", *(("report_seeds=[0]",) if workers else ()))


def calm_study(folder, workers):
    """Write a study whose trap never springs; return what to run."""
    space, trapped = trapped_study(folder, "wait")
    (trapped / "go").touch()
    return space, folder / "results", *group_of(workers)


def trapped_process(folder, process, rank=0):
    """Wait until a process is in the trap; return its id."""
    path = folder / f"claimed{rank}"
    return int(wait_until(lambda: path.exists() and path.read_text().endswith("\n") and path.read_text(), process))
