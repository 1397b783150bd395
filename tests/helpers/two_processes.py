"""A branched network that two processes train together, for tests: run as `python two_processes.py RANK FOLDER`."""

import sys
from pathlib import Path

import own_networks
import torch
from torch.nn.parallel import DistributedDataParallel

from dks_study import SynergyLoss, branched

IMAGES, CLASSES, STEPS = 16, 5, 3


def network():
    torch.manual_seed(0)
    return branched(own_networks.Nested(3, CLASSES), ["0", "1"], CLASSES, recipe="linear")


def train(model, rank, size):
    """Return the loss of every step; each process sees its share of the same images."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss, losses, random = SynergyLoss(pairing="dense"), [], torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        images = torch.rand(IMAGES, 3, 16, 16, generator=random).chunk(size)[rank]
        labels = torch.randint(CLASSES, (IMAGES,), generator=random).chunk(size)[rank]
        optimiser.zero_grad()
        total = loss(model(images), labels).total
        total.backward()
        optimiser.step()
        losses.append(total.item())
    return losses


def main(rank, folder):
    store = f"file://{folder / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    net = network()
    losses = train(DistributedDataParallel(net), rank, 2)
    torch.save({"losses": losses, "state": net.state_dict()}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
