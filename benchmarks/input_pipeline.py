"""Images per second and core, flipped, cropped and normalised: python benchmarks/input_pipeline.py.

32x32 colour images in memory, batches of 128, one thread, CPU time of the process, in turn:

- ours: `train_batches` (one gather over the batch for shift and mirror) and `normalise`;
- torchvision: a DataLoader that takes each image through torchvision's usual transforms of PIL images, without worker
  processes: those are other cores, and per core none is the fairest, as nothing is sent between processes.

Both yield float32 [128, 3, 32, 32]: shifted by up to 4 pixels with black borders, mirrored by a coin.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from measuring.alternating import alternate, machine, seconds_of, show
from measuring.loops import input_batches
from measuring.setups import BATCH, made_up
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataSet, Split

ROUNDS, BATCHES, PAD_PIXELS = 15, 20, 4
SPEC = DataSpec(name="cifar100", root="none", flip=True, crop_pad_pixels=PAD_PIXELS, crop_pad_mode="zero")


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as torchvision keeps CIFAR's, an array [N, H, W, 3]; each is transformed when it is asked for."""

    def __init__(self, data: DataSet) -> None:
        """Keep the training images of `data`."""
        assert isinstance(data.train, Split)
        self._pixels = data.train.images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels = data.train.labels.tolist()
        crop = transforms.RandomCrop(data.image_shape[1], padding=PAD_PIXELS)
        normalise = transforms.Normalize(data.mean, data.std)
        parts = [crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise]
        self._transform: Callable[[Image.Image], Tensor] = transforms.Compose(parts)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image and its label."""
        return self._transform(Image.fromarray(self._pixels[index])), self._labels[index]


def torchvision(data: DataSet) -> Iterator[Tensor]:
    """Yield what `input_batches` does, by torchvision."""
    loader = DataLoader(Pictures(data), BATCH, shuffle=True, drop_last=True)
    while True:
        for images, _ in loader:
            yield images


def main() -> None:
    """Measure both."""
    torch.set_num_threads(1)
    print(machine())
    data = made_up(BATCHES * BATCH)

    def timed(batches: Iterator[Tensor]) -> Callable[[], float]:
        return lambda: seconds_of(lambda: next(batches), BATCHES, time.process_time)

    seconds = alternate(
        {"ours": timed(input_batches(data, SPEC, BATCH)), "torchvision": timed(torchvision(data))}, ROUNDS
    )
    print("per batch of 128:")
    show(seconds, "ours", "torchvision", round(1 / 15, 3))
    for name, values in seconds.items():
        print(f"{name}: {BATCH / statistics.median(values):,.0f} images/s on one core")


if __name__ == "__main__":
    main()
