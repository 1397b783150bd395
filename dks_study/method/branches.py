"""A backbone with its auxiliary classifiers: images in, the logits of all of them out."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dks_study.method.backbones import Backbone, Walked, Watched, build_backbone, draw_scales
from dks_study.method.backbones.layout import PROBE_PIXELS
from dks_study.method.growth import Site, grow, stage_site
from dks_study.method.hollow import hollow
from dks_study.method.probing import Feature, Probed, probe
from dks_study.method.streams import seeded
from dks_study.method.tapping import check_logits
from dks_study.method.tokens import token_place
from dks_study.spec.backbone import BackboneSpec, is_stage, shallow_to_deep
from dks_study.spec.branches import BranchSpec
from dks_study.spec.pairing import MAIN

ANY_SIZE = (PROBE_PIXELS, PROBE_PIXELS)


class BranchedNet(nn.Module):
    """A backbone, unmodified, with one branch at each of some taps: images -> logits by classifier.

    Attributes:
        backbone: what ships; the weights of `backbone.plain()` load into the original network.
        branches: shallow to deep, dropped for inference; by tap name with '_' for '.', which modules cannot be named.
    """

    def __init__(self, backbone: Backbone, branches: Mapping[str, nn.Module]) -> None:
        """Join a backbone and its branches, given by tap name: stages in any order, modules shallow to deep."""
        super().__init__()
        self.backbone = backbone
        self._taps = tuple(branches)
        if isinstance(backbone, Walked):
            self._taps = tuple(backbone.tap(tap).name for tap in shallow_to_deep(branches))
        self.branches = nn.ModuleDict(dict(zip(_keys(self._taps), (branches[tap] for tap in self._taps), strict=True)))

    @property
    def names(self) -> tuple[str, ...]:
        """The classifiers, shallow to deep, `main` last."""
        return (*self._taps, MAIN)

    def branch(self, name: str) -> nn.Module:
        """Return the branch of a classifier; KeyError: there is none."""
        return dict(zip(self._taps, self.branches.values(), strict=True))[name]

    def plain(self) -> nn.Module:
        """Return the network that ships, without branches: the very module that is trained here."""
        return self.backbone.plain()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits [B, classes] by classifier, shallow to deep, of images [B, in_channels, H, W].

        The backbone runs to its end before any branch runs: from one generator state its dropout then draws
        the same numbers whatever branches there are.
        """
        features, main = self.backbone.tapped(images, self._taps)
        branches = zip(self._taps, self.branches.values(), strict=True)
        logits = {tap: branch(features[tap]) for tap, branch in branches}
        return {**logits, MAIN: main}


def build_branched(
    backbone_spec: BackboneSpec,
    branches_spec: BranchSpec,
    in_channels: int,
    classes: int,
    seed: int,
    pixels: tuple[int, int] = ANY_SIZE,
) -> BranchedNet:
    """Return a backbone with its branches; equal parts get equal initial weights whatever else is built.

    Args:
        backbone_spec: what ships.
        branches_spec: which branches, and how they are made.
        in_channels: channels of the images, at least 1.
        classes: number of classes, at least 2.
        seed: the backbone and every branch draw from streams of their own.
        pixels: height and width of the images, for networks that take one size alone and are tapped at modules.

    Raises:
        ValueError: one line that names the key, if the backbone cannot be built, lacks a tap, or cannot grow there
            what the recipe asks for.
    """
    backbone = build_backbone(backbone_spec, in_channels, classes, seed)
    taps = shallow_to_deep(branches_spec.taps)
    if isinstance(backbone, Walked) and all(map(is_stage, taps)):
        sites = [stage_site(backbone, tap) for tap in taps]
    else:
        backbone = _watched(backbone, in_channels, classes)
        probed = _probed(backbone, backbone_spec.name, (backbone.in_channels or in_channels, *pixels))
        sites = _module_sites(backbone, probed, taps)
    branches: dict[str, nn.Module] = {}
    for site in sites:
        with seeded(seed, "branch", site.tap.name):
            branches[site.tap.name] = grow(site, backbone_spec, branches_spec, classes)
        if backbone_spec.uniform_batch_norm:
            draw_scales(branches[site.tap.name], seed, "branch", site.tap.name)
    return BranchedNet(backbone, branches)


def _watched(backbone: Backbone, in_channels: int, classes: int) -> Watched:
    if isinstance(backbone, Watched):
        return backbone
    shown = getattr(backbone, "in_channels", in_channels)
    return Watched(backbone.plain(), classes, in_channels=shown)


def _probed(watched: Watched, name: str, image_shape: tuple[int, int, int]) -> Probed:
    """Run a copy without data; what cannot run like that cannot be counted either.

    Raises:
        ValueError: one line, if it does not run, or which of its outputs is the logits is not known.
    """
    try:
        with torch.device("meta"):
            probed = probe(hollow(watched.model), torch.empty(2, *image_shape))
    except ValueError as error:
        rule = "must run on the data's images, and without numbers (on PyTorch's meta device)"
        raise ValueError(f"backbone.name: {rule}, got {name!r}: {error}") from error
    try:
        check_logits(probed.result, watched.output, watched.classes)
    except ValueError as error:
        raise ValueError(f"backbone.{error}") from error
    return probed


def _module_sites(watched: Watched, probed: Probed, taps: Sequence[str]) -> list[Site]:
    """Return the places at modules, which must be named from shallow to deep.

    Raises:
        ValueError: one line that names the key.
    """
    try:
        found = [probed.find(tap) for tap in taps]
    except ValueError as error:
        if watched.stageless and all(map(is_stage, taps)):
            raise ValueError(watched.stageless) from error
        raise ValueError(f"branches.{error}") from error
    positions = [probed.position(tap) for tap in taps]
    if positions != sorted(positions):
        right = ", ".join(sorted(taps, key=probed.position))
        raise ValueError(f"branches.taps: must be listed as they run ({right}), got {', '.join(taps)}")
    return [module_site(watched.model, each, probed, watched.in_channels) for each in found]


def module_site(model: nn.Module, feature: Feature, probed: Probed, in_channels: int | None) -> Site:
    """Return the place at a module that ends no known stage; `in_channels`: see `TokenPlace`."""
    if feature.arrangement == "map":
        return Site(feature.tap, probed.after(feature.tap.name) or (feature.tap,))
    return Site(feature.tap, (feature.tap,), tokens=token_place(model, feature.tap.name, in_channels))


def _keys(taps: Sequence[str]) -> list[str]:
    """Return the names of the branches' modules: without dots, each its own, none that a ModuleDict has itself."""
    taken, keys = nn.ModuleDict(), []
    for tap in taps:
        key = tap.replace(".", "_")
        while key in keys or hasattr(taken, key):
            key += "_"
        keys.append(key)
    return keys
