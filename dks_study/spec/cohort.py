"""Other networks that train along (peers: DML, DCM) or teach without learning (a teacher: KD, mean teacher, PS-KD).

Classifiers of peers are named `peer1.stage2`, `peer1.main`; that of the teacher is `teacher`. The network that the
study is about keeps the plain names, and its `main` comes last.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from dks_study.spec.backbone import BackboneSpec, shallow_to_deep
from dks_study.spec.base import Extended, Spec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.pairing import ENSEMBLE, GATE, MAIN, TEACHER

Own = Literal["average", "last_epoch", "start"]
Ensemble = Literal["gate", "attention"]


class TeacherSpec(Extended):
    """A network that teaches and does not learn: a trained one, or the run's own at another time.

    Attributes:
        weights: a file as `dks-study export TRIAL --to weights` writes it.
        backbone: the network that the weights are of.
        own: in place of these two: the run's own network. average: with its weights averaged over all steps so far
            (mean teacher); last_epoch: as the epoch before left it, in the first epoch as it starts (PS-KD); start: as
            it starts.
        ema_decay: with own average alone: d of a <- d a + (1 - d) w after every step, from the initial weights on.
    """

    LATER = ("own", "ema_decay")

    weights: str | None = Field(default=None, min_length=1)
    backbone: BackboneSpec | None = None
    own: Own | None = None
    ema_decay: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _is_trained_or_own(self) -> Self:
        for key in ("weights", "backbone"):
            if (getattr(self, key) is None) == (self.own is None):
                without = "must be given, or own, got null"
                raise ValueError(f"{key}: {f'must be left out with own {self.own}' if self.own else without}")
        if (self.own == "average") != (self.ema_decay is not None):
            got = "null" if self.ema_decay is None else f"{self.ema_decay:g}"
            rule = "must be given with own average and left out otherwise"
            raise ValueError(f"ema_decay: {rule}, got {got} with own {self.own or 'null'}")
        return self

    @model_validator(mode="after")
    def _weights_are_given_once(self) -> Self:
        if self.backbone and self.backbone.weights is not None:
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


def ensemble_names(branches: BranchSpec, ensemble: Ensemble | None) -> tuple[str, ...]:
    """Return the ensembles of a network's own classifiers: one of all of them, or one that teaches each."""
    if ensemble == "attention":
        return tuple(f"{ENSEMBLE}.{name}" for name in branch_names(branches))
    return (GATE,) if ensemble else ()


def classifier_names(
    branches: BranchSpec, peers: tuple[PeerSpec, ...], teacher: TeacherSpec | None, ensemble: Ensemble | None = None
) -> tuple[str, ...]:
    """Return all classifiers: the teacher, the peers', ensembles, the network's own, shallow to deep, `main` last."""
    names = [TEACHER] if teacher else []
    for number, peer in enumerate(peers, start=1):
        names += [f"peer{number}.{name}" for name in branch_names(peer.branches or branches)]
    return (*names, *ensemble_names(branches, ensemble), *branch_names(branches))
