"""The loss in a training loop of one's own, by the keys of a study."""

import json
from collections.abc import Mapping

import torch
from pydantic import ValidationError
from torch import Tensor

from dks_study.method.synergy import LossTerms, Objective, objective_for
from dks_study.spec.base import Problem
from dks_study.spec.loss import DRAWN, OF_LABELS, LossSpec
from dks_study.spec.pairing import MAIN
from dks_study.spec.wording import values_problem


class LoopError(Problem, ValueError):
    """A network cannot be branched as it is asked for, or a loss not be had; the message is one line."""


class SynergyLoss:
    """The loss of all classifiers: cross-entropies, and KL(teacher || student) of pairs (see `synergy.py`)."""

    def __init__(self, **loss: object) -> None:
        """Take the keys of `loss` in a study (`LossSpec`): pairing, weights, temperature, schedules.

        Raises:
            LoopError: one line that names the key, the rule and the value.
        """
        try:
            self.spec = LossSpec.model_validate_json(json.dumps(loss, default=str))
        except ValidationError as error:
            raise LoopError(values_problem(error.errors(), LossSpec, "SynergyLoss")) from error
        for name, term in self.spec.terms.items():
            if term.kind != "dkd":
                rule = "must be dkd in a loop of one's own, where logits alone are known"
                raise LoopError(f"terms.{name}.kind: {rule}, got {term.kind!r}")
        if self.spec.teacher_signal == "start":
            rule = "must not be start in a loop of one's own, where the network's start is not known"
            raise LoopError(f"teacher_signal: {rule}, got 'start'")
        self._objectives: dict[tuple[str, ...], Objective] = {}

    def __call__(
        self,
        logits: Mapping[str, Tensor],
        targets: Tensor,
        progress: float | None = None,
        draws: torch.Generator | None = None,
    ) -> LossTerms:
        """Return the terms of one batch; `total` is what is minimised.

        Args:
            logits: by classifier, shallow to deep, `main` last, each [B, classes]: what a branched network returns.
            targets: true classes, int64 [B], or distributions over classes [B, classes].
            progress: fraction of training that is done, in [0, 1]; needed where the loss has a schedule.
            draws: decides which pairs are left out of this step, and what is permuted; needed with `pair_dropout` and
                the placebos that permute.

        Raises:
            LoopError: one line, if the loss names a classifier that is not there, or lacks what its schedule needs.
        """
        names, spec = tuple(logits), self.spec
        if progress is None and _has_schedule(spec):
            rule = "must be given with branch_schedule linear, main_fall, a term's warmup and synergy_warmup"
            raise LoopError(f"progress: {rule}, got None")
        if draws is None and spec.draws:
            rule = f"must be a torch.Generator on the CPU with pair_dropout and teacher_signal {' or '.join(DRAWN)}"
            raise LoopError(f"draws: {rule}, got None")
        if spec.terms and targets.is_floating_point():
            raise LoopError("targets: must be classes, int64 [B], with terms of kind dkd, got distributions")
        if spec.teacher_signal in OF_LABELS and targets.is_floating_point():
            rule = f"must be classes, int64 [B], with teacher_signal {spec.teacher_signal}"
            raise LoopError(f"targets: {rule}, got distributions")
        if names not in self._objectives:
            self._objectives[names] = self._objective(names)
        return self._objectives[names](logits, targets, 1.0 if progress is None else progress, draws)

    def __repr__(self) -> str:
        given = ", ".join(f"{key}={getattr(self.spec, key)!r}" for key in sorted(self.spec.model_fields_set))
        return f"SynergyLoss({given})"

    def _objective(self, names: tuple[str, ...]) -> Objective:
        if not names or names[-1] != MAIN:
            raise LoopError(f"logits: must be by classifier, `main` last, got {', '.join(names) or 'none'}")
        for name in self.spec.branch_weight_by_tap:
            if name not in names[:-1]:
                raise LoopError(f"branch_weight_by_tap: must name taps ({', '.join(names[:-1])}), got {name!r}")
        try:
            return objective_for(self.spec, names)
        except ValueError as error:
            raise LoopError(f"pairing: {error}") from error


def _has_schedule(spec: LossSpec) -> bool:
    """Does a weight of the loss go by the fraction of training that is done?"""
    warmups = (spec.synergy_warmup, *(term.warmup for term in spec.terms.values()))
    return spec.branch_schedule == "linear" or spec.main_fall > 0 or any(warmups)
