"""Named terms of the objective beside cross-entropies and KL: what is compared, between whom, with which weight.

Who teaches whom is written as in a pairing, `teacher>student`. On features both are taps, with the network before them:
`stage2` and `stage2.1` (inside a stage) of the own network, `peer1.stage2`, `teacher.stage3`, or modules by their names
(`teacher.layer3.0`). On classifiers (`embedding`, `dkd`, `gradient`, `jacobian`) both are classifiers, `main>stage1`,
`teacher>main`, or a scheme of pairings says which: `from_main`.
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from dks_study.spec.backbone import BackboneSpec, is_stage, tap_position
from dks_study.spec.base import Fraction, Spec
from dks_study.spec.branches import TAP_JOINT
from dks_study.spec.pairing import ENSEMBLE, SCHEMES, TEACHER, network_of, pairing_matrix, parse_pair

Kind = Literal["hint", "attention", "fsp", "embedding", "dkd", "gradient", "jacobian"]
OF_IMAGES: tuple[Kind, ...] = ("gradient", "jacobian")  # compare derivatives by the pixels
OF_CLASSIFIERS: tuple[Kind, ...] = ("embedding", "dkd", *OF_IMAGES)
DKD_KEYS = ("target_weight", "rest_weight", "temperature")


class TermSpec(Spec):
    """One term: `weight` times the sum of its pairs, for the student's gradient alone (see `loss.detach_teacher`).

    Attributes:
        kind: hint (FitNets), attention (attention transfer), fsp (flow between two taps, `stage1+stage2` on each side),
            embedding (what the last linear layers are given: BYOT's hint), dkd (decoupled KD), gradient (attention
            transfer by gradients of the cross-entropy), jacobian (Jacobian matching).
        pairs: who teaches whom, `teacher>student` each; see above.
        weight: of the sum of the pairs.
        warmup: the fraction of training over which the weight rises from 0.
        adapter: what makes the student's features like the teacher's: `conv`, a 1x1 convolution that is trained along
            and dropped for inference; `pool`, nothing that learns. auto: `conv` for hints, and for embeddings of other
            widths; else `pool`. Larger maps are pooled to the smaller in any case.
        target_weight: dkd: alpha of the paper, of the probability of the true class.
        rest_weight: dkd: beta of the paper, of the distribution over all other classes.
        temperature: dkd: above 0.
    """

    kind: Kind
    pairs: tuple[str, ...] = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0)
    warmup: Fraction = 0.0
    adapter: Literal["auto", "pool", "conv"] = "auto"
    target_weight: float = Field(default=1.0, ge=0)
    rest_weight: float = Field(default=8.0, ge=0)
    temperature: float = Field(default=4.0, gt=0)

    @field_validator("pairs")
    @classmethod
    def _pairs_are_pairs(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        plain = tuple(pair if pair in SCHEMES else ">".join(parse_pair(pair)) for pair in pairs)
        for pair in plain:
            if plain.count(pair) > 1:
                raise ValueError(f"each pair is listed once, got {pair!r} twice")
            if pair not in SCHEMES and network_of(parse_pair(pair)[1]) == TEACHER:
                raise ValueError(f"the frozen teacher is nobody's student, got {pair!r}")
        return plain

    @model_validator(mode="after")
    def _keys_go_with_the_kind(self) -> Self:
        for key in DKD_KEYS:
            if self.kind != "dkd" and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: must be left out with kind {self.kind}, got {getattr(self, key):g}")
        if self.adapter == "conv" and self.kind in ("attention", "dkd", *OF_IMAGES):
            raise ValueError(f"adapter: must be left out with kind {self.kind}, which needs none, got 'conv'")
        return self

    @model_validator(mode="after")
    def _sides_have_their_taps(self) -> Self:
        if self.kind in OF_CLASSIFIERS:
            return self
        for pair in self.pairs:
            if pair in SCHEMES:
                raise ValueError(f"pairs: must be written 'teacher>student' with kind {self.kind}, got {pair!r}")
            for side in parse_pair(pair):
                taps, wanted = parse_side(side).taps, 2 if self.kind == "fsp" else 1
                if len(taps) != wanted or not all(taps):
                    rule = "two taps joined by + (stage1+stage2)" if wanted == 2 else "one tap"
                    raise ValueError(f"pairs: must have {rule} on each side with kind {self.kind}, got {side!r}")
        return self


class Side(NamedTuple):
    """One side of a pair on features: 'teacher', 'peer2' or '' (the own network), and its taps."""

    network: str
    taps: tuple[str, ...]


def parse_side(side: str) -> Side:
    """Split `teacher.stage1+stage2` into the network and its taps."""
    network = network_of(side)
    return Side(network, tuple(side.removeprefix(f"{network}.").split(TAP_JOINT)))


def pairs_of(term: TermSpec, classifiers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the pairs of a term as 'teacher>student', schemes written out.

    Raises:
        ValueError: if a pair of classifiers names one that is not among `classifiers`, or there is no pair.
    """
    if term.kind not in OF_CLASSIFIERS:
        return term.pairs
    pair, size = pairing_matrix(term.pairs, classifiers), range(len(classifiers))
    found = tuple(f"{classifiers[t]}>{classifiers[s]}" for t in size for s in size if pair[t][s])
    if not found:
        raise ValueError(f"must stand for at least one pair of {', '.join(classifiers)}, got {list(term.pairs)}")
    return found


def term_names(terms: Mapping[str, TermSpec], classifiers: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is reported of all terms, in order: `hint/teacher.stage2>stage2`."""
    return tuple(f"{name}/{pair}" for name, term in terms.items() for pair in pairs_of(term, classifiers))


def of_features(terms: Mapping[str, TermSpec]) -> dict[str, TermSpec]:
    """Return the terms that compare features."""
    return {name: term for name, term in terms.items() if term.kind not in ("dkd", *OF_IMAGES)}


def check_terms(
    terms: Mapping[str, TermSpec], classifiers: tuple[str, ...], networks: Mapping[str, BackboneSpec], *, mixes: bool
) -> None:
    """Check that terms compare what there is.

    Args:
        terms: by name.
        classifiers: all classifiers of the run.
        networks: backbones by network: 'teacher', 'peer1', '' (the own).
        mixes: are targets distributions over classes?

    Raises:
        ValueError: one line that begins with the key.
    """
    for name, term in terms.items():
        if term.kind == "dkd" and mixes:
            rule = "must not be dkd, which needs one true class, with data.mixup_alpha or data.cutmix_alpha"
            raise ValueError(f"loss.terms.{name}.kind: {rule}, got 'dkd'")
        try:
            for pair in pairs_of(term, classifiers):
                if term.kind not in OF_CLASSIFIERS:
                    _check_taps(pair, networks)
                elif term.kind == "embedding" and network_of(pair) == ENSEMBLE:
                    raise ValueError(f"must be of classifiers with features, which ensembles are not, got {pair!r}")
        except ValueError as error:
            raise ValueError(f"loss.terms.{name}.pairs: {error}") from error


def _check_taps(pair: str, networks: Mapping[str, BackboneSpec]) -> None:
    for side in parse_pair(pair):
        network, taps = parse_side(side)
        got = f"got {side!r} in {pair!r}"
        if network not in networks:
            raise ValueError(f"must name networks that there are (teacher: with `teacher`, peer1: with `peers`), {got}")
        if network in taps and network:
            raise ValueError(f"must name a tap of the network ({network}.stage1), {got}")
        name, blocks = networks[network].name, networks[network].blocks_per_stage or ()
        for tap in taps:
            # Networks from elsewhere know what they have when they are built.
            if blocks and is_stage(tap) and not _is_there(tap, blocks):
                inside = f", inside them such as stage1.1 of {blocks[0]} blocks" if blocks[0] > 1 else ""
                raise ValueError(f"must name taps of {name} (stage1 to stage{len(blocks)}{inside}), {got}")


def _is_there(tap: str, blocks: tuple[int, ...]) -> bool:
    """Whether a backbone with so many blocks in each stage has this tap; the end of its last stage is one here."""
    stage, block = tap_position(tap)
    return stage <= len(blocks) and (block == math.inf or block < blocks[stage - 1])
