"""The loss of a training run: who teaches whom, what is taught, and all weights."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from dks_study.spec.base import Extended, Fraction, Name
from dks_study.spec.pairing import SCHEMES, Pairing, parse_pair
from dks_study.spec.terms import OF_IMAGES, TermSpec


def _check_pairing(value: object) -> object:
    if isinstance(value, str):
        if value not in SCHEMES:
            raise ValueError(f"the rule is one of {', '.join(SCHEMES)}, or a list of 'teacher>student' pairs")
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        for item in value:
            if item not in SCHEMES:
                parse_pair(item)
        return tuple(value)
    if isinstance(value, dict) and all(_is_weight(weight) for weight in value.values()):
        for pair in value:
            parse_pair(pair)
        return {pair: float(weight) for pair, weight in value.items()}
    raise ValueError(
        "the rule is a scheme's name, a list of schemes and 'teacher>student' pairs, or pairs with weights"
    )


def _as_it_is(value: object) -> object:
    return value  # pydantic's own serialiser of the union warns at a tuple


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Signal = Literal["knowledge", "other_images", "wrong_classes", "class_means", "uniform", "start"]
DRAWN: tuple[Signal, ...] = ("other_images", "wrong_classes")  # need random numbers in every step
OF_LABELS: tuple[Signal, ...] = ("wrong_classes", "class_means")  # need one true class of each image


class LossSpec(Extended):
    """Supervised terms plus weighted KL(teacher || student) terms; every weight is 1 in the paper.

    The defaults are the paper's.

    Attributes:
        pairing: who teaches whom: a scheme, a list of schemes and `teacher>student` pairs, or a weight for each pair.
        synergy_weight: of all KL terms together.
        top_down_weight: of the pairs in which a deeper classifier teaches a shallower one of the same network.
        bottom_up_weight: of the pairs in which a shallower classifier teaches a deeper one of the same network.
        pair_reduction: the KL terms are summed, or their mean is taken over the pairs.
        pair_dropout: the probability with which each pair is left out of a step.
        synergy_warmup: the fraction of training over which the synergy weight rises from 0; 1: all of it.
        detach_teacher: true: no gradient reaches the teacher of a pair.
        temperature: logits are divided by it in the KL terms.
        temperature_squared: KL terms are multiplied by the square of the temperature.
        label_smoothing: the fraction of the target that is spread over all classes, in the cross-entropies.
        main_weight: of the cross-entropy of every network's own classifier, `main`.
        main_fall: the fraction of that weight that is lost over training, linearly (PS-KD).
        branch_weight: of the cross-entropy of every branch.
        branch_weight_by_tap: of that of one branch instead, by its name (`stage2`, `peer1.stage2`).
        branch_schedule: what becomes of the branches' weights in training: constant, falling linearly to 0 (CNDS), or,
            with threshold, 0 wherever a branch's cross-entropy is below `branch_threshold` (DSN).
        branch_threshold: in nats, for branch_schedule threshold alone.
        smoothing: added to every probability in the KL terms; the authors' code adds 1.0e-8.
        terms: further terms by name, on features or probabilities, each with a weight of its own.
        teacher_signal: what pairs teach: knowledge, the teacher's probabilities; or, as a placebo, those with the
            knowledge destroyed: other_images, of another image of the batch; wrong_classes, those of all classes but
            the image's label permuted; class_means, their mean over the batch's images of the same label; uniform;
            start, those that the teacher had before the first step, of the same images: a frozen copy of the whole
            network as it starts, which is run in every step.
        keep_gradient_size: of a placebo: each pair's term is scaled so that its gradient by the student's logits is as
            large as knowledge would make it (norm over the batch).
    """

    LATER = ("main_fall", "teacher_signal", "keep_gradient_size")

    pairing: Annotated[Pairing, PlainValidator(_check_pairing), PlainSerializer(_as_it_is)] = "dense"
    synergy_weight: Weight = 1.0
    top_down_weight: Weight = 1.0
    bottom_up_weight: Weight = 1.0
    pair_reduction: Literal["sum", "mean"] = "sum"
    pair_dropout: Fraction = 0.0
    synergy_warmup: Share = 0.0
    detach_teacher: bool = True
    temperature: float = Field(default=1.0, gt=0)
    temperature_squared: bool = False
    label_smoothing: Fraction = 0.0
    main_weight: Weight = 1.0
    main_fall: Share = 0.0
    branch_weight: Weight = 1.0
    branch_weight_by_tap: dict[str, Weight] = Field(default_factory=dict)
    branch_schedule: Literal["constant", "linear", "threshold"] = "constant"
    branch_threshold: Weight = 0.0
    smoothing: float = Field(default=0.0, ge=0, le=1e-3)
    terms: dict[Name, TermSpec] = Field(default_factory=dict)
    teacher_signal: Signal = "knowledge"
    keep_gradient_size: bool = False

    @property
    def draws(self) -> bool:
        """Does a step need random numbers?"""
        return self.pair_dropout > 0 or self.teacher_signal in DRAWN

    @property
    def of_images(self) -> bool:
        """Does a term compare derivatives by the pixels?"""
        return any(term.kind in OF_IMAGES for term in self.terms.values())

    @model_validator(mode="after")
    def _a_placebo_teaches(self) -> Self:
        if self.teacher_signal == "knowledge":
            if self.keep_gradient_size:
                raise ValueError("keep_gradient_size: must be left out with teacher_signal knowledge, got true")
            return self
        if self.pairing == "none":
            raise ValueError(f"teacher_signal: must be left out with pairing none, got {self.teacher_signal!r}")
        if not self.detach_teacher:
            rule = "must be left out with detach_teacher false, which trains teachers by what is destroyed"
            raise ValueError(f"teacher_signal: {rule}, got {self.teacher_signal!r}")
        return self

    @model_validator(mode="after")
    def _threshold_goes_with_its_schedule(self) -> Self:
        if (self.branch_schedule == "threshold") != (self.branch_threshold > 0):
            raise ValueError(
                "branch_threshold: must be above 0 with branch_schedule threshold and left out otherwise,"
                f" got {self.branch_threshold:g} with {self.branch_schedule}"
            )
        return self
