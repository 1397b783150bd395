"""A network that shows, beside its logits, the features that terms of the objective compare; adapters included.

The network runs as it is, once: what is compared is taken from its modules while it runs (`tapping.py`). Adapters are
trained along and dropped for inference, as branches are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dks_study.method.backbones import Backbone, Walked
from dks_study.method.branches import BranchedNet
from dks_study.method.hollow import hollow
from dks_study.method.probing import arranged
from dks_study.method.streams import seeded
from dks_study.method.tapping import GIVEN, run_tapped
from dks_study.method.terms import Sides
from dks_study.spec.backbone import is_stage
from dks_study.spec.pairing import MAIN, network_of, parse_pair
from dks_study.spec.terms import TermSpec, of_features, pairs_of, parse_side

NETWORK = "network."  # what the names of the parameters of what is observed begin with
Parts = Mapping[str, BranchedNet | Backbone]  # by network: 'teacher', 'peer1', '' (the own)


class Seen(NamedTuple):
    """Logits [B, classes] by classifier, and what each pair of a term on features compares, by its reported name."""

    logits: dict[str, Tensor]
    features: dict[str, Sides]


@dataclass(frozen=True)
class Sight:
    """A pair of a term: the modules whose features it compares, as `run_tapped` names them.

    Attributes:
        name: of the term.
        pair: as it is written.
    """

    name: str
    pair: str
    term: TermSpec
    teacher: tuple[str, ...]
    student: tuple[str, ...]


class Comparison(nn.Module):
    """What is seen -> both sides of a pair, the student's adapted; one adapter for each of its features."""

    def __init__(self, sight: Sight, adapters: Sequence[nn.Module]) -> None:
        """Compare what `sight` names."""
        super().__init__()
        self.sight, self.adapters = sight, nn.ModuleList(adapters)

    def forward(self, seen: Mapping[str, Tensor]) -> Sides:
        """Return the features of teacher and student; `seen` holds them by module."""
        adapted = zip(self.adapters, self.sight.student, strict=True)
        return tuple(seen[name] for name in self.sight.teacher), tuple(adapt(seen[name]) for adapt, name in adapted)


class Observed(nn.Module):
    """Images -> `Seen`.

    Attributes:
        network: what is observed.
        comparisons: of each pair of each term.
    """

    def __init__(self, network: nn.Module, comparisons: Sequence[Comparison], last: frozenset[str]) -> None:
        """Observe `network`; the modules `last` put out channels last, [B, H, W, C], which are shown [B, C, H, W]."""
        super().__init__()
        self._last = last
        self.network, self.comparisons = network, nn.ModuleList(comparisons)
        modules = (name for each in comparisons for name in (*each.sight.teacher, *each.sight.student))
        self._modules_seen = tuple(dict.fromkeys(modules))
        self._names = tuple(f"{each.sight.name}/{each.sight.pair}" for each in comparisons)

    @property
    def backbone(self) -> Backbone:
        """What ships."""
        backbone = self.network.backbone
        assert isinstance(backbone, Backbone)
        return backbone

    def forward(self, images: Tensor) -> Seen:
        """Return logits and features of images [B, in_channels, H, W].

        Raises:
            RuntimeError: if a module that is looked at does not run, or puts out something else than a tensor.
        """
        logits: Any
        logits, kept = run_tapped(self.network, images, self._modules_seen)
        seen = {name: each for name, each in kept.items() if isinstance(each, Tensor)}
        seen |= {name: seen[name].permute(0, 3, 1, 2) for name in self._last if name in seen}
        for name in self._modules_seen:
            if name not in seen:
                got = type(kept.get(name)).__name__
                raise RuntimeError(f"loss.terms: {name} must run and put out a tensor in every pass, got {got}")
        pairs = zip(self._names, self.comparisons, strict=True)
        return Seen(logits, {name: compare(seen) for name, compare in pairs})


def observed(
    network: nn.Module,
    parts: Parts,
    terms: Mapping[str, TermSpec],
    classifiers: tuple[str, ...],
    image_shape: tuple[int, int, int],
    seed: int,
) -> Observed:
    """Return `network` observed at what the terms on features compare, with fresh adapters.

    Args:
        network: holds the parts.
        parts: its networks.
        terms: by name; those on logits alone are passed over.
        classifiers: all that `network` has.
        image_shape: channels, height and width of the images.
        seed: every adapter draws from a stream of its own.

    Raises:
        ValueError: one line that names the key, if there is no such tap or features cannot be compared.
    """
    sights: list[Sight] = []
    for name, term in of_features(terms).items():
        for pair in pairs_of(term, classifiers):
            try:
                teacher, student = (_modules_of(side, term, network, parts) for side in parse_pair(pair))
            except ValueError as error:
                raise ValueError(f"loss.terms.{name}.pairs: {error} in {pair!r}") from error
            sights.append(Sight(name, pair, term, teacher, student))
    seen, last = _shown(network, sights, image_shape)
    comparisons: list[Comparison] = []
    for sight in sights:
        theirs, mine = (tuple(seen[name] for name in side) for side in (sight.teacher, sight.student))
        with seeded(seed, "adapter", sight.name, sight.pair):
            comparisons.append(Comparison(sight, _adapters(sight, theirs, mine)))
    return Observed(network, comparisons, last)


def _shown(
    network: nn.Module, sights: Sequence[Sight], image_shape: tuple[int, int, int]
) -> tuple[dict[str, Tensor], frozenset[str]]:
    """Return features of two images by module, without numbers, and which of them are permuted to [B, C, H, W].

    Raises:
        ValueError: one line that names the key, if a module puts out no tensor.
    """
    looked_at = [(sight, name) for sight in sights for name in (*sight.teacher, *sight.student)]
    with torch.device("meta"), torch.no_grad():
        images = torch.empty(2, *image_shape)
        _, kept = run_tapped(hollow(network), images, [name for _, name in looked_at])
        seen: dict[str, Tensor] = {}
        for sight, name in looked_at:
            feature = kept.get(name)
            if not isinstance(feature, Tensor):
                rule = "must name modules that run and put out a tensor"
                got = type(feature).__name__ if name in kept else "nothing"
                raise ValueError(f"loss.terms.{sight.name}.pairs: {rule}, got {got} of {name} in {sight.pair!r}")
            seen[name] = feature
        last = frozenset(name for name, each in seen.items() if arranged(each, images) == "map_last")
        return seen | {name: seen[name].permute(0, 3, 1, 2) for name in last}, last


def _modules_of(side: str, term: TermSpec, network: nn.Module, parts: Parts) -> tuple[str, ...]:
    """Return the names in `network` of the modules that one side of a pair stands for.

    Raises:
        ValueError: what must be there.
    """
    if term.kind == "embedding":
        part = parts[network_of(side)]
        classifier = side.removeprefix(f"{network_of(side)}.")
        return (GIVEN + path_of(network, last_linear(part, classifier)),)
    name, taps = parse_side(side)
    part = parts[name]
    backbone = part.backbone if isinstance(part, BranchedNet) else part
    return tuple(path_of(network, _module_at(backbone, tap)) for tap in taps)


def _module_at(backbone: Backbone, tap: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(backbone.plain().named_modules(remove_duplicate=False))
    name = tap
    if isinstance(backbone, Walked) and is_stage(tap):  # as in `branches.taps`, whatever its modules are called
        ends = {each.name for each in (*backbone.taps, *backbone.inner_taps)}
        name = (backbone.module_at(tap) or "") if tap in ends else ""
    if not name or name not in modules:
        rule = "must name modules of the network, or its stages where a module and no function ends them"
        raise ValueError(f"{rule}, got {tap!r}")
    return modules[name]


def last_linear(part: BranchedNet | Backbone, classifier: str) -> nn.Module:
    """Return the last linear layer of a classifier: of a branch, or of the backbone.

    Raises:
        ValueError: what must be there.
    """
    root: nn.Module
    if isinstance(part, BranchedNet):
        root = part.backbone.plain() if classifier == MAIN else part.branch(classifier)
    else:
        root = part.plain()
    layers = [module for module in root.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(f"must name classifiers that end in a linear layer with kind embedding, got {classifier!r}")
    return layers[-1]


def path_of(network: nn.Module, module: nn.Module) -> str:
    """Return the name of a module in `network`."""
    names: dict[int, str] = {id(each): name for name, each in network.named_modules()}
    return names[id(module)]


def _adapters(sight: Sight, teacher: tuple[Tensor, ...], student: tuple[Tensor, ...]) -> list[nn.Module]:
    """Return what makes the student's features like the teacher's, with fresh weights.

    Raises:
        ValueError: one line that names the key, if they cannot be made so.
    """
    key, term, made = f"loss.terms.{sight.name}", sight.term, list[nn.Module]()
    for theirs, mine in zip(teacher, student, strict=True):
        wanted = "feature maps [B, C, H, W]" if term.kind in ("attention", "fsp") else "features of the same kind"
        of_tokens = theirs.ndim == mine.ndim == 3
        alike = theirs.ndim == mine.ndim >= 2 and (not of_tokens or theirs.shape[1] == mine.shape[1])
        if not alike or (term.kind in ("attention", "fsp") and mine.ndim != 4):
            shapes = f"[B, {_shape(theirs)}] and [B, {_shape(mine)}]"
            raise ValueError(
                f"{key}.pairs: must compare {wanted} with kind {term.kind}, got {shapes} in {sight.pair!r}"
            )
        widths = _width(mine), _width(theirs)
        if _learns(term, *widths):
            made.append(nn.Conv2d(*widths, 1) if mine.ndim == 4 else nn.Linear(*widths))
        elif widths[0] != widths[1] and term.kind != "attention":
            rule = f"must be conv where channels differ ({widths[1]} of the teacher, {widths[0]} of the student)"
            raise ValueError(f"{key}.adapter: {rule}, got {term.adapter!r} with {sight.pair!r}")
        else:
            made.append(nn.Identity())
    return made


def _learns(term: TermSpec, width: int, wanted: int) -> bool:
    """Is there an adapter with weights, from so many channels of the student to those of the teacher?"""
    by_kind = term.kind == "hint" or (term.kind == "embedding" and width != wanted)
    return by_kind if term.adapter == "auto" else term.adapter == "conv"


def _width(feature: Tensor) -> int:
    return feature.shape[1] if feature.ndim == 4 else feature.shape[-1]


def _shape(feature: Tensor) -> str:
    return ", ".join(map(str, feature.shape[1:]))
