"""Teachers made of a network's own classifiers: their logits mixed by weights for each image, which are learned.

They are built with the branches and dropped with them. Shapes: B images, K classifiers, C classes, D numbers.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dks_study.method.branches import BranchedNet
from dks_study.method.hollow import hollow
from dks_study.method.observed import last_linear, path_of
from dks_study.method.probing import arranged
from dks_study.method.streams import seeded
from dks_study.method.tapping import GIVEN, run_tapped
from dks_study.spec.cohort import Ensemble
from dks_study.spec.pairing import ENSEMBLE, GATE, MAIN

_NARROWER = 8  # how many times narrower than the narrowest embedding queries and keys are: the authors' code


class Gate(nn.Module):
    """One teacher z_e = sum_k g_k z_k with g = softmax(ReLU(BN(W x))), x the mean over pixels of a feature.

    Source: ONE (Lan et al., NeurIPS 2018, equation 4) and its published code, where x is what all branches share: here
    the feature at the shallowest tap.

    Attributes:
        looks_at: what it must be shown of the network, as `run_tapped` names it.
    """

    def __init__(self, looks_at: str, positions: tuple[int, ...], channels: int, classifiers: int) -> None:
        """Look at a feature with `channels`, whose dimensions `positions` are pixels or tokens."""
        super().__init__()
        self.looks_at, self._positions = (looks_at,), positions
        self.scores = nn.Sequential(nn.Linear(channels, classifiers), nn.BatchNorm1d(classifiers), nn.ReLU())

    def forward(self, logits: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the teacher's logits [B, C] by name, of those of all classifiers."""
        weights = self.scores(seen[self.looks_at[0]].mean(self._positions)).softmax(1)  # [B, K]
        return {GATE: (weights.unsqueeze(2) * torch.stack(list(logits.values()), 1)).sum(1)}


class Attention(nn.Module):
    """For each branch a teacher t_a = sum_b alpha_ab z_b, alpha_a = softmax_b(L_a h_a . E_b h_b); for main mean_b z_b.

    h is what a branch's last linear layer is given. Source: OKDDip (Chen et al., AAAI 2020) and its published code,
    which mixes logits (the paper: probabilities) and whose branches, all of one shape, share L and E.

    Attributes:
        looks_at: what it must be shown of the network, as `run_tapped` names it.
    """

    def __init__(self, looks_at: Sequence[str], widths: Sequence[int]) -> None:
        """Look at the embeddings of all branches, so wide each."""
        super().__init__()
        self.looks_at, width = tuple(looks_at), max(1, min(widths) // _NARROWER)
        self.queries, self.keys = (
            nn.ModuleList(nn.Linear(each, width, bias=False) for each in widths) for _ in ("query", "key")
        )

    def forward(self, logits: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the teachers' logits [B, C] by name, of those of all classifiers."""
        embeddings = [seen[name] for name in self.looks_at]
        queries, keys = (
            torch.stack([layer(each) for layer, each in zip(layers, embeddings, strict=True)], 1)  # [B, K - 1, D]
            for layers in (self.queries, self.keys)
        )
        names = [name for name in logits if name != MAIN]
        branches = torch.stack([logits[name] for name in names], 1)  # [B, K - 1, C]
        mixed = (queries @ keys.transpose(1, 2)).softmax(2) @ branches
        teachers = {f"{ENSEMBLE}.{name}": mixed[:, at] for at, name in enumerate(names)}
        return {**teachers, f"{ENSEMBLE}.{MAIN}": branches.mean(1)}


def ensemble_of(kind: Ensemble, own: BranchedNet, image_shape: tuple[int, int, int], seed: int) -> Gate | Attention:
    """Return what mixes the logits of `own`, with fresh weights from a stream of its own.

    Args:
        kind: which teachers.
        own: has branches.
        image_shape: channels, height and width of the images.
        seed: the run's.

    Raises:
        ValueError: one line that names the key, if there is nothing to look at.
    """
    if kind == "gate":
        looks_at = [f"{GIVEN}{path_of(own, own.branch(own.names[0]))}"]
    else:
        looks_at = [f"{GIVEN}{path_of(own, _last_linear(own, name))}" for name in own.names[:-1]]
    with torch.device("meta"), torch.no_grad():
        images = torch.empty(2, *image_shape)
        _, kept = run_tapped(hollow(own), images, looks_at)
    shown = [each for name in looks_at if isinstance(each := kept[name], Tensor)]
    with seeded(seed, "ensemble"):
        if kind == "gate":
            (feature,) = shown
            last = arranged(feature, images) != "map"  # where the channels are: [B, H, W, C], [B, N, C]
            positions = tuple(range(1, feature.ndim - 1)) if last else (2, 3)
            return Gate(looks_at[0], positions, feature.shape[-1 if last else 1], len(own.names))
        return Attention(looks_at, [each.shape[-1] for each in shown])


def _last_linear(own: BranchedNet, name: str) -> nn.Module:
    try:
        return last_linear(own, name)
    except ValueError as error:
        raise ValueError(
            f"ensemble: must be left out with branches that end in no linear layer, got {name!r}"
        ) from error
