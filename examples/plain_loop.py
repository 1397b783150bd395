"""Deep supervision with knowledge synergy in a plain PyTorch loop: handwritten digits, seconds on a CPU.

python examples/plain_loop.py
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from dks_study import SynergyLoss, branched

EPOCHS, BATCH, CLASSES, WRONG = 8, 64, 10, 0.4


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training images with 40 % wrong labels, and test images with their true ones."""
    data = load_digits()
    images, labels = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(data.target)
    order = torch.randperm(len(images))
    train, test = order[:1200], order[1200:]
    wrong = torch.rand(len(train)) < WRONG
    noisy = torch.where(wrong, (labels[train] + torch.randint(1, CLASSES, wrong.shape)) % CLASSES, labels[train])
    return images[train], noisy, images[test], labels[test]


def block(channels: int, out_channels: int) -> nn.Sequential:
    """Return a convolution that halves the image."""
    conv = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def train(taps: list[str]) -> float:
    """Train a network of one's own with branches at `taps`; return the test error of the network alone in percent."""
    torch.manual_seed(0)
    images, labels, test_images, test_labels = digits()
    model = nn.Sequential(block(1, 32), block(32, 64), block(64, 64), nn.Flatten(), nn.Linear(64, CLASSES))
    net = branched(model, taps=taps, classes=CLASSES, example=images[:2])
    loss = SynergyLoss(pairing="dense")
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(EPOCHS):
        net.train()
        for batch in torch.randperm(len(images)).split(BATCH):
            optimiser.zero_grad()
            loss(net(images[batch]), labels[batch]).total.backward()
            optimiser.step()
    model.eval()  # the very module that was given: no branch, no hook
    with torch.no_grad():
        wrong = model(test_images).argmax(1) != test_labels
    return 100 * wrong.float().mean().item()


if __name__ == "__main__":
    for name, taps in {"baseline": [], "dks": ["0", "1"]}.items():
        print(f"{name}: test error {train(taps):.1f} %")
