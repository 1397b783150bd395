"""Wrong training labels: how many, which, and what they become, as functions of the trial's seed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dks_study.method.streams import generator
from dks_study.spec.data import DataSpec
from dks_study.training.data.sets import DataSet

# What a human would mistake them for (Patrini et al., CVPR 2017): truck>automobile, bird>airplane, deer>horse,
# cat>dog, dog>cat; the other classes keep their labels.
CIFAR10_CONFUSIONS = (0, 1, 0, 5, 7, 3, 6, 7, 8, 1)


def training_labels(data: DataSet, spec: DataSpec, seed: int) -> Tensor:
    """Return the labels int64 [N] that a trial of this seed trains on."""
    return noisy_labels(data.train.labels, data.classes, spec.label_noise, seed, _confusions(data, spec))


def validation_labels(data: DataSet, spec: DataSpec) -> Tensor:
    """Return the labels int64 [N] that a trial is judged by: the same in every trial, as wrong as `spec` says."""
    fraction = spec.label_noise if "validation" in spec.label_noise_in else 0.0
    return noisy_labels(data.validation.labels, data.classes, fraction, spec.split_seed, _confusions(data, spec))


def _confusions(data: DataSet, spec: DataSpec) -> Sequence[int] | None:
    return data.confusions if spec.label_noise_kind == "asymmetric" else None


def noisy_labels(
    labels: Tensor, classes: int, fraction: float, seed: int, confusions: Sequence[int] | None = None
) -> Tensor:
    """Return int64 [N] in which round(fraction * N) labels are another class.

    Args:
        labels: the true ones, int64 [N], on the CPU.
        classes: C.
        fraction: in [0, 1).
        seed: the trial's.
        confusions: None for symmetric noise: any other class, uniformly. Else, for each class, the one that it becomes;
            a class that becomes itself is left alone, and N counts the others' labels only.
    """
    source = generator(seed, "label_noise")
    if confusions is not None:
        becomes = torch.tensor(confusions)[labels]
        open_to_it = (becomes != labels).nonzero().squeeze(1)
        drawn = torch.randperm(len(open_to_it), generator=source)[: round(fraction * len(open_to_it))]
        wrong = open_to_it[drawn]
        return labels.index_put((wrong,), becomes[wrong])
    wrong = torch.randperm(len(labels), generator=source)[: round(fraction * len(labels))]
    shift = torch.randint(1, classes, (len(wrong),), generator=source)
    noisy = labels.clone()
    noisy[wrong] = (labels[wrong] + shift) % classes
    return noisy


def next_in_group(groups: Sequence[int]) -> tuple[int, ...]:
    """Return for each class the next one of its group, and the group's first for its last.

    Args:
        groups: the group of each class, such as CIFAR-100's superclasses.
    """
    members: dict[int, list[int]] = {}
    for label, group in enumerate(groups):
        members.setdefault(group, []).append(label)
    turns = {group: dict(zip(own, own[1:] + own[:1], strict=True)) for group, own in members.items()}
    return tuple(turns[group][label] for label, group in enumerate(groups))
