"""Knowledge synergy in Lightning, on a network of torchvision: handwritten digits, seconds on a CPU.

pip install lightning && python examples/lightning_loop.py
"""

import lightning
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from dks_study import SynergyLoss, branched

EPOCHS, BATCH, CLASSES = 2, 64, 10


class Synergy(lightning.LightningModule):
    """Trains `model` with branches, and tests it alone."""

    def __init__(self, model: nn.Module, taps: list[str]) -> None:
        """Attach branches of one linear layer each."""
        super().__init__()
        self.net = branched(model, taps, CLASSES, recipe="linear")
        self.loss = SynergyLoss(pairing="dense", synergy_warmup=0.2)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        progress = self.global_step / self.trainer.estimated_stepping_batches
        return self.loss(self.net(images), labels, progress).total

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Count what the network that ships gets wrong."""
        images, labels = batch
        wrong = (self.net.plain()(images).argmax(1) != labels).float().mean()
        self.log("test error (%)", 100 * wrong)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Train the network and its branches alike."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


if __name__ == "__main__":
    lightning.seed_everything(0, verbose=False)
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 16
    images = nn.functional.interpolate(images, size=16)
    train, test = torch.utils.data.random_split(TensorDataset(images, torch.tensor(data.target)), [1200, 597])
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", enable_model_summary=False, **quiet)
    network = Synergy(resnet18(num_classes=CLASSES), ["layer2", "layer3"])
    trainer.fit(network, DataLoader(train, BATCH, shuffle=True, drop_last=True))
    (result,) = trainer.test(network, DataLoader(test, BATCH), verbose=False)
    print(f"resnet18 with branches at layer2, layer3: test error {result['test error (%)']:.1f} %")
