"""Networks as a user might write them."""

import torch
from torch import Tensor, nn


def conv_bn(channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()
    )


class WithStages(nn.Module):
    """Says its stages itself: `stem`, `stages` and `head`."""

    def __init__(self, in_channels: int, classes: int, width: int = 4) -> None:
        super().__init__()
        self.stem = conv_bn(in_channels, width, 1)
        self.stages = nn.ModuleDict(
            {
                "early": nn.Sequential(conv_bn(width, width, 1), conv_bn(width, width, 1)),
                "late": nn.Sequential(conv_bn(width, 2 * width, 2), conv_bn(2 * width, 2 * width, 1)),
            }
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes))

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for stage in self.stages.values():
            features = stage(features)
        return self.head(features)


class Plain(nn.Module):
    """Says nothing; functions between its modules."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.one = conv_bn(in_channels, 4, 1)
        self.two = conv_bn(4, 8, 2)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(torch.relu(self.norm(self.two(self.one(images)))).mean([2, 3]))


class Skips(Plain):
    """Is not a chain of its modules."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.one(images)
        return self.fc(self.two(features + features.mean()).mean([2, 3]))


class Crooked(WithStages):
    """Does not do what its stages say."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 2


class NoHead(nn.Module):
    """Has stages alone."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(conv_bn(in_channels, 4, 1), conv_bn(4, classes, 2))

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images).mean([2, 3])


def not_a_network(in_channels: int, classes: int) -> str:
    return "a string"
