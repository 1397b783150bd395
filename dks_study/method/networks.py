"""What a run trains: one branched network, or a cohort with peers and a frozen teacher; perhaps observed."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dks_study.method.backbones import Backbone, build_backbone
from dks_study.method.branches import ANY_SIZE, BranchedNet, build_branched
from dks_study.method.ensembles import Attention, Gate, ensemble_of
from dks_study.method.observed import NETWORK, Observed, Parts, observed
from dks_study.method.pretrained import read_state, start_from
from dks_study.method.streams import derive
from dks_study.method.tapping import run_tapped
from dks_study.spec.cohort import TeacherSpec
from dks_study.spec.pairing import AT_START, TEACHER
from dks_study.spec.shipped import found
from dks_study.spec.terms import of_features
from dks_study.spec.trial import RunSpec

OWN = "own."  # what the names of a cohort's own parameters begin with


class Frozen(nn.Module):
    """A network that never learns: always evaluating, no gradients, whatever is done to what holds it.

    Its weights are those of a file, or, with `teacher.own`, what training makes of them from the own network's.
    """

    def __init__(self, network: nn.Module) -> None:
        """Hold a network as it is."""
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: batch norm must use what it has learned."""
        return super().train(False)

    def forward(self, images: Tensor) -> Any:  # noqa: ANN401  # what the network returns
        """Return logits [B, classes], by classifier if there are several, with derivatives by images that ask alone."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and images.requires_grad):
            return self.network(images)


class Start(Frozen):
    """What is trained as it starts (`loss.teacher_signal: start`), frozen.

    In training its batch norms go by the batch, as those of what is trained do: else it would say much the same of all
    images, as means and variances of 0 and 1 are those of none. They keep nothing of it. Nothing is dropped out.
    """

    def __init__(self, network: nn.Module) -> None:
        """Hold a network as it is."""
        super().__init__(network)
        for norm in self._norms():
            norm.track_running_stats = False  # those that it has stay, for evaluation

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode but for batch norms."""
        super().train(mode)
        for norm in self._norms():
            norm.train(mode)
        return self

    def _norms(self) -> list[_BatchNorm]:
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]


class Cohort(nn.Module):
    """The study's own network among others: images -> logits of all classifiers, its own `main` last.

    Attributes:
        own: the network that the study is about.
        peers: networks that learn along; dropped for inference.
        teacher: a frozen network, or None.
        ensemble: of the own classifiers, dropped for inference, or None.
        start: all of this as it starts, frozen, or None.
    """

    def __init__(
        self,
        own: BranchedNet,
        peers: Sequence[BranchedNet],
        teacher: Frozen | None,
        ensemble: Gate | Attention | None = None,
    ) -> None:
        """Join networks for the same images and classes."""
        super().__init__()
        self.own, self.peers, self.teacher, self.ensemble = own, nn.ModuleList(peers), teacher, ensemble
        self.start: Start | None = None

    def keep_start(self) -> None:
        """Keep what there is now as the start: its logits are returned along, by classifier and `@start`."""
        self.start = Start(copy.deepcopy(self))

    @property
    def backbone(self) -> Backbone:
        """What ships."""
        return self.own.backbone

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits [B, classes] by classifier, of images [B, in_channels, H, W].

        The own network runs first: from one generator state its dropout draws the same whatever the others do.
        """
        own, mixed = self._own(images)
        others: dict[str, Tensor] = {} if self.teacher is None else {TEACHER: self.teacher(images)}
        for number, peer in enumerate(self.peers, start=1):
            others |= {f"peer{number}.{name}": logits for name, logits in peer(images).items()}
        if self.start is not None:
            others |= {f"{name}{AT_START}": logits for name, logits in self.start(images.detach()).items()}
        return {**others, **mixed, **own}

    def _own(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return logits of the own classifiers and of their ensembles."""
        if self.ensemble is None:
            return self.own(images), {}
        own: Any
        own, kept = run_tapped(self.own, images, self.ensemble.looks_at)
        return own, self.ensemble(own, kept)

    def parts(self) -> Parts:
        """Return its networks by their names; the own has none."""
        found: dict[str, BranchedNet | Backbone] = {"": self.own}
        for number, peer in enumerate(self.peers, start=1):
            assert isinstance(peer, BranchedNet)
            found[f"peer{number}"] = peer
        teacher = teacher_of(self)
        return found if teacher is None else {**found, TEACHER: teacher}


Network = BranchedNet | Cohort | Observed


def build_network(
    run: RunSpec, in_channels: int, classes: int, seed: int, pixels: tuple[int, int] = ANY_SIZE
) -> Network:
    """Return what `run` trains; equal parts get equal initial weights whatever else is built.

    It is observed if a term of the loss compares features.

    Args:
        run: which backbone, branches, peers and teacher.
        in_channels: channels of the images, at least 1.
        classes: number of classes, at least 2.
        seed: the run's seed; every network draws from streams of its own.
        pixels: height and width of the images, for networks that take one size alone.

    Raises:
        ValueError: one line that names the key, if a part cannot be built or the teacher's weights do not fit.
    """
    network = _build(run, in_channels, classes, seed, pixels)
    if run.optimiser.freeze_pretrained and _learns_nothing_else(network):
        rule = "must be left out where nothing but what backbone.weights gave could learn"
        raise ValueError(f"optimiser.freeze_pretrained: {rule}, got {run.optimiser.freeze_pretrained:g}")
    if not of_features(run.loss.terms):
        return network
    parts = network.parts() if isinstance(network, Cohort) else {"": network}
    return observed(network, parts, run.loss.terms, run.classifiers, (in_channels, *pixels), seed)


Part = Literal["pretrained", "branch"]


def parts_of(network: nn.Module) -> dict[nn.Parameter, Part]:
    """Return which parameters came from `backbone.weights`, and which are of branches; others are in neither."""
    parts: dict[nn.Parameter, Part] = {}
    for net in network.modules():
        if isinstance(net, BranchedNet):
            named = net.backbone.plain().named_parameters()
            parts |= {each: "pretrained" for name, each in named if name in net.backbone.pretrained}
            parts |= dict.fromkeys(net.branches.parameters(), "branch")
    return parts


def _learns_nothing_else(network: nn.Module) -> bool:
    """Did everything that is trained come from `backbone.weights`?"""
    parts = parts_of(network)
    return all(parts.get(each) == "pretrained" for each in network.parameters() if each.requires_grad)


def own_network(network: Network) -> BranchedNet:
    """Return the network that the study is about, with its branches, among what a run trains."""
    inner = network.network if isinstance(network, Observed) else network
    own = inner.own if isinstance(inner, Cohort) else inner
    assert isinstance(own, BranchedNet)
    return own


def teacher_of(network: Network) -> Backbone | None:
    """Return the frozen teacher among what a run trains."""
    inner = network.network if isinstance(network, Observed) else network
    teacher = inner.teacher.network if isinstance(inner, Cohort) and inner.teacher else None
    assert teacher is None or isinstance(teacher, Backbone)
    return teacher


def own_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the own network, backbone and branches, among those of what a run trains."""
    weights = dict(state)
    for prefix in (NETWORK, OWN):
        within = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        weights = within or weights
    return weights


def _build(run: RunSpec, in_channels: int, classes: int, seed: int, pixels: tuple[int, int]) -> BranchedNet | Cohort:
    own = build_branched(run.backbone, run.branches, in_channels, classes, seed, pixels)
    start_from(own.backbone, run.backbone, classes)
    keeps_start = run.loss.teacher_signal == "start"
    if not run.peers and run.teacher is None and run.ensemble is None and not keeps_start:
        return own
    peers: list[BranchedNet] = []
    for number, peer in enumerate(run.peers, start=1):
        parts = peer.backbone or run.backbone, peer.branches or run.branches
        peers.append(build_branched(*parts, in_channels, classes, derive(seed, "peer", number), pixels))
        start_from(peers[-1].backbone, parts[0], classes)
    teacher = _teacher(run.teacher, own.backbone, in_channels, classes)
    ensemble = ensemble_of(run.ensemble, own, (in_channels, *pixels), seed) if run.ensemble else None
    cohort = Cohort(own, peers, teacher, ensemble)
    if keeps_start:
        cohort.keep_start()
    return cohort


def _teacher(teacher: TeacherSpec | None, own: Backbone, in_channels: int, classes: int) -> Frozen | None:
    if teacher is None:
        return None
    return Frozen(copy.deepcopy(own) if teacher.own else load_teacher(teacher, in_channels, classes))


def load_teacher(teacher: TeacherSpec, in_channels: int, classes: int) -> Backbone:
    """Return the backbone of a teacher whose weights are in a file.

    Raises:
        ValueError: one line that names the key, if the weights cannot be read or are not those of the backbone.
    """
    assert teacher.backbone
    assert teacher.weights
    network = build_backbone(teacher.backbone, in_channels, classes, seed=0)
    got, device = f"got {teacher.weights!r}", next(network.parameters()).device
    state = read_state(found(teacher.weights), "teacher.weights", got, device)
    try:
        network.plain().load_state_dict(state, strict=True)
    except (RuntimeError, AttributeError, TypeError) as error:
        size = f"{in_channels} channels and {classes} classes"
        rule = f"must be those of {teacher.backbone.name} as it is described, for {size}"
        raise ValueError(f"teacher.weights: {rule}, {got}") from error
    return network
