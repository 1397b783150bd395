"""Networks as a user might write them."""

import sys
import threading
from functools import cache

import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer


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


class OneMore(WithStages):
    """Gives a logit too many."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__(in_channels, classes + 1)


class Locked(WithStages):
    """Cannot be copied."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__(in_channels, classes)
        self.lock = threading.Lock()


class EndsWhenCopied(WithStages):
    """Ends the process where nobody waits for it."""

    def __deepcopy__(self, memo: dict[int, object]) -> "EndsWhenCopied":
        sys.exit("copied")


class EndsWhenRead(WithStages):
    """The same."""

    def state_dict(self, *_: object, **__: object) -> dict[str, Tensor]:
        sys.exit("read")


class EndsWhenAsked(WithStages):
    """The same."""

    def named_parameters(self, *_: object, **__: object) -> list[tuple[str, nn.Parameter]]:
        sys.exit("asked")


class EndsInTraining(Skips):
    """The same, and as if nothing were wrong."""

    def forward(self, images: Tensor) -> Tensor:
        if self.training and not images.is_meta:
            sys.exit(0)
        return super().forward(images)


class NoHead(nn.Module):
    """Has stages alone."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(conv_bn(in_channels, 4, 1), conv_bn(4, classes, 2))

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images).mean([2, 3])


def not_a_network(in_channels: int, classes: int) -> str:
    return "a string"


class Functional(nn.Module):
    """Functions between its modules, so that no stage ends in a module."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(in_channels, 8, 3, 2, 1)
        self.b = nn.Conv2d(8, 16, 3, 2, 1)
        self.c = nn.Conv2d(16, 32, 3, 2, 1)
        self.fc = nn.Linear(32, classes)

    def features(self, images: Tensor) -> Tensor:
        return torch.relu(self.c(torch.relu(self.b(torch.relu(self.a(images))))))

    def forward(self, images: Tensor) -> object:
        return self.fc(self.features(images).mean((2, 3)))


class TupleOut(Functional):
    """Returns its logits and its last features."""

    def forward(self, images: Tensor) -> object:
        features = self.features(images)
        return self.fc(features.mean((2, 3))), features


class DictOut(Functional):
    """Returns by name, its logits among others of their shape."""

    def forward(self, images: Tensor) -> object:
        logits = self.fc(self.features(images).mean((2, 3)))
        return {"scaled": 2 * logits, "logits": logits}


class Answer:
    """What a network may return: an object with attributes."""

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.note = logits, "no tensor"


class ObjectOut(Functional):
    """Returns an object."""

    def forward(self, images: Tensor) -> object:
        return Answer(self.fc(self.features(images).mean((2, 3))))


class Shared(nn.Module):
    """Runs one block three times."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 16, 3, 1, 1)
        self.block = nn.Conv2d(16, 16, 3, 2, 1)
        self.fc = nn.Linear(16, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for _ in range(3):
            features = torch.relu(self.block(features))
        return self.fc(features.mean((2, 3)))


class Nested(nn.Sequential):
    """Sequences in sequences, with group norm: a batch may be cut anywhere."""

    def __init__(self, in_channels: int, classes: int) -> None:
        def block(channels: int, out_channels: int) -> nn.Sequential:
            norm = nn.Sequential(nn.GroupNorm(2, out_channels), nn.GELU())
            return nn.Sequential(nn.Conv2d(channels, out_channels, 3, 2, 1), norm)

        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes))
        super().__init__(block(in_channels, 8), block(8, 16), block(16, 32), head)


class OneSize(nn.Module):
    """Takes 8x8 images alone, as LeNet takes 32x32 alone, and skips over a module."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.one = conv_bn(in_channels, 8, 2)
        self.two = conv_bn(8, 8, 1)
        self.fc = nn.Linear(8 * 4 * 4, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.one(images)
        return self.fc((features + self.two(features)).flatten(1))


class NamedStages(TupleOut):
    """Has modules that are named like stages, and no stages that can be found."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__(in_channels, classes)
        self.stage1, self.stage2 = self.a, self.b


class Squeezed(nn.Module):
    """Squeeze and excitation: a detour through a single pixel."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.one = conv_bn(in_channels, 8, 2)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.two = conv_bn(8, 16, 2)
        self.fc = nn.Conv2d(16, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.one(images)
        features = features * torch.sigmoid(self.squeeze(features.mean((2, 3), keepdim=True)))
        return self.fc(self.two(features).mean((2, 3), keepdim=True)).flatten(1)


def tiny_vit(in_channels: int, classes: int) -> nn.Module:
    """Torchvision's ViT with four blocks, for images of 8 pixels: tokens [B, 17, 16], the first one the class token."""
    net = VisionTransformer(8, 2, 4, 2, 16, 32, num_classes=classes)
    net.conv_proj = nn.Conv2d(in_channels, 16, 2, 2)
    return net


def tiny_swin(in_channels: int, classes: int) -> nn.Module:
    """Torchvision's Swin with two stages of two blocks: [B, 4, 4, 8], then [B, 2, 2, 16] for images of 8 pixels."""
    net = SwinTransformer([2, 2], 8, [2, 2], [1, 2], [2, 2], stochastic_depth_prob=0.0, num_classes=classes)
    net.features[0][0] = nn.Conv2d(in_channels, 8, 2, 2)
    return net


def exits(in_channels: int, classes: int) -> nn.Module:
    raise SystemExit(0)


def forgets(in_channels: int, classes: int) -> nn.Module:
    raise KeyError("two\nlines")


def asks_for_too_much(in_channels: int, classes: int) -> nn.Module:
    raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory:\nyou tried to allocate 4 PiB")


def wants_more(in_channels: int, classes: int) -> nn.Module:
    raise TypeError("two\nlines")


def never_implemented(in_channels: int, classes: int) -> nn.Module:
    raise NotImplementedError("two\nlines")


def without_weights(in_channels: int, classes: int) -> nn.Module:
    return nn.Flatten()


def frozen(in_channels: int, classes: int) -> nn.Module:
    return Plain(in_channels, classes).requires_grad_(False)


def in_halves(in_channels: int, classes: int) -> nn.Module:
    return Plain(in_channels, classes).half()


@cache
def always_one(in_channels: int, classes: int) -> nn.Module:
    return WithStages(in_channels, classes)


def lazy(in_channels: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))


class ExitsLater(Plain):
    """Ends the process when it is run."""

    def forward(self, images: Tensor) -> Tensor:
        raise SystemExit(0)
