"""Other networks that train along (peers: DML, DCM) or teach from a checkpoint (a frozen teacher: KD).

Classifiers of peers are named `peer1.stage2`, `peer1.main`; that of the teacher is `teacher`. The network that the
study is about keeps the plain names, and its `main` comes last.
"""

from typing import Self

from pydantic import Field, model_validator

from dks_study.spec.backbone import BackboneSpec, shallow_to_deep
from dks_study.spec.base import Spec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.pairing import MAIN, TEACHER


class TeacherSpec(Spec):
    """A trained network that teaches and does not learn.

    Attributes:
        weights: a file as `dks-study export TRIAL --to weights` writes it.
        backbone: the network that the weights are of.
    """

    weights: str = Field(min_length=1)
    backbone: BackboneSpec

    @model_validator(mode="after")
    def _weights_are_given_once(self) -> Self:
        if self.backbone.weights is not None:
            raise ValueError(f"backbone.weights: must be left out: weights has them, got {self.backbone.weights!r}")
        return self


class PeerSpec(Spec):
    """A network that learns beside the study's own, from other initial weights.

    Attributes:
        backbone: as in `trial`; left out: the run's own.
        branches: as in `trial`; left out: the run's own.
    """

    backbone: BackboneSpec | None = None
    branches: BranchSpec | None = None


def branch_names(branches: BranchSpec) -> tuple[str, ...]:
    """Return the classifiers of one network, shallow to deep, `main` last."""
    return (*shallow_to_deep(branches.taps), MAIN)


def classifier_names(branches: BranchSpec, peers: tuple[PeerSpec, ...], teacher: TeacherSpec | None) -> tuple[str, ...]:
    """Return all classifiers: the teacher, the peers' and the network's own, shallow to deep, `main` last."""
    names = [TEACHER] if teacher else []
    for number, peer in enumerate(peers, start=1):
        names += [f"peer{number}.{name}" for name in branch_names(peer.branches or branches)]
    return (*names, *branch_names(branches))
