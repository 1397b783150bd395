"""Auxiliary classifiers: what is grown at a tap, and the network of a backbone with its branches.

Source of the layouts: for WRNs the published network of Sun et al., CVPR 2019 (arXiv 1906.00675); for CIFAR ResNets
the branch table of DHM (Li and Chen, CVPR 2020), whose WRN-28-10 is the same as the former.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from dks_study.backbone_spec import BackboneSpec
from dks_study.backbones import Staged, build_backbone
from dks_study.spec import MAIN, RunSpec
from dks_study.streams import seeded

# Depth of a CIFAR ResNet -> blocks of the early tap's two stages, where these are not (n, n / 2 rounded up).
_EARLY_TAP_OF_DEEP_RESNETS: Mapping[int, tuple[int, int]] = {110: (9, 9), 1202: (100, 100)}


def recipe_blocks(spec: BackboneSpec, blocks_per_stage: tuple[int, ...], position: int) -> tuple[int, ...]:
    """Return the blocks of each stage that the paper's branch grows behind the stage at `position`.

    A branch has as many stages, hence down-samplings, as remain in the backbone. From the last tap it copies the
    last stage's blocks; from an earlier tap its last stage has half of them (at least 1), rounded down for WRNs
    as the authors do, up for ResNets as DHM's table does.

    Args:
        spec: the backbone's family and depth.
        blocks_per_stage: the backbone's own blocks.
        position: of the tap, 0 for the first stage; at least one stage follows.
    """
    *between, last = blocks_per_stage[position + 1 :]
    if not between:
        return (last,)
    if spec.name == "resnet" and position == 0 and spec.depth in _EARLY_TAP_OF_DEEP_RESNETS:
        return _EARLY_TAP_OF_DEEP_RESNETS[spec.depth]
    half = (last + 1) // 2 if spec.name == "resnet" else last // 2
    return (*between, max(1, half))


def recipe_widths(widths: tuple[int, ...], position: int) -> tuple[int, ...]:
    """Return the output channels of those stages: the backbone's, but twice as wide if only one stage remains."""
    remaining = widths[position + 1 :]
    return remaining if len(remaining) > 1 else (2 * remaining[0],)


class BranchedNet(nn.Module):
    """A backbone, unmodified, with one branch at each of some taps: images -> logits by classifier.

    Attributes:
        backbone: what ships; its weights load into a plain backbone.
        branches: by tap name, shallow to deep; dropped for inference.
    """

    def __init__(self, backbone: Staged, branches: Mapping[str, nn.Module]) -> None:
        """Join a backbone and its branches, given by tap name in any order."""
        super().__init__()
        depth = [tap.name for tap in backbone.taps]
        self.backbone = backbone
        self.branches = nn.ModuleDict({tap: branches[tap] for tap in sorted(branches, key=depth.index)})

    @property
    def names(self) -> tuple[str, ...]:
        """The classifiers, shallow to deep, `main` last."""
        return (*self.branches, MAIN)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits [B, classes] by classifier, shallow to deep, of images [B, in_channels, H, W].

        The backbone runs to its end before any branch runs: from one generator state its dropout then draws
        the same numbers whatever branches there are.
        """
        features = self.backbone.walk(images)
        main = self.backbone.head(features[self.backbone.taps[-1].name])
        logits = {tap: branch(features[tap]) for tap, branch in self.branches.items()}
        return {**logits, MAIN: main}


def build_network(run: RunSpec, in_channels: int, classes: int, seed: int) -> BranchedNet:
    """Return the backbone and branches of `run`; runs that share a seed share the initial weights of equal parts.

    Args:
        run: its `backbone` and `branches` are read.
        in_channels: channels of the images, at least 1.
        classes: number of classes, at least 2.
        seed: the run's seed; the backbone and every branch draw from streams of their own.
    """
    backbone = build_backbone(run.backbone, in_channels, classes, seed)
    branches: dict[str, nn.Module] = {}
    for tap in run.branches.taps:
        with seeded(seed, "branch", tap):
            branches[tap] = _build_branch(run, backbone, tap)
    return BranchedNet(backbone, branches)


def _build_branch(run: RunSpec, backbone: Staged, tap: str) -> nn.Module:
    position = [candidate.name for candidate in backbone.taps].index(tap)
    channels = backbone.taps[position].channels
    parts: list[nn.Module] = []
    if run.branches.recipe == "paper":
        blocks = recipe_blocks(run.backbone, backbone.blocks_per_stage, position)
        widths = recipe_widths(tuple(each.channels for each in backbone.taps), position)
        for index, (depth, width) in enumerate(zip(blocks, widths, strict=True), start=position + 1):
            parts.append(backbone.new_stage(index, channels, width, depth))
            channels = width
    return nn.Sequential(*parts, backbone.new_head(channels))
