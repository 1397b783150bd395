"""Knowledge synergy in two processes (DistributedDataParallel, gloo): handwritten digits, seconds on a CPU.

python examples/ddp_two_processes.py
"""

import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dks_study import SynergyLoss, branched

PROCESSES, EPOCHS, BATCH, CLASSES = 2, 15, 64, 10


def block(channels: int, out_channels: int) -> nn.Sequential:
    """Return a convolution that halves the image."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 3, stride=2, padding=1), nn.GroupNorm(4, out_channels), nn.ReLU()
    )


def work(rank: int, store: str) -> None:
    """Train on every second image; the first process tests the network alone."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES)
    torch.manual_seed(0)
    data = load_digits()
    images, labels = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(data.target)
    order = torch.randperm(len(images))
    train, test = order[:1200], order[1200:]
    model = nn.Sequential(block(1, 16), block(16, 32), block(32, 64), nn.Flatten(), nn.Linear(64, CLASSES))
    net = DistributedDataParallel(branched(model, ["0", "1"], CLASSES, example=images[:2], recipe="linear"))
    loss, optimiser = SynergyLoss(pairing="dense"), torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(EPOCHS):
        for batch in train[torch.randperm(len(train))].split(BATCH):
            mine = batch[rank::PROCESSES]
            optimiser.zero_grad()
            loss(net(images[mine]), labels[mine]).total.backward()
            optimiser.step()
    if rank == 0:
        with torch.no_grad():
            wrong = model.eval()(images[test]).argmax(1) != labels[test]
        print(f"{PROCESSES} processes: test error {100 * wrong.float().mean().item():.1f} %")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{Path(folder, 'store')}"
        torch.multiprocessing.spawn(work, (store,), nprocs=PROCESSES)
