"""How weights are updated: optimiser, learning-rate schedule, and what is done to gradients and weights around it."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dks_study.spec.base import Fraction, Spec


class OptimiserSpec(Spec):
    """SGD or AdamW; `milestones`, `warmup` and the cosine are in fractions of the trial's own epochs.

    Weight decay: weights of convolutions and linear layers decay; biases and batch norm (all parameters of fewer than
    two dimensions) only with `decay_batch_norm`. AdamW's is decoupled from the gradient, SGD's is not.
    Schedule: during `warmup` the rate rises linearly from lr / 100 to lr. `multistep` then multiplies it by `gamma` at
    each of `milestones`, `cosine` lets it fall to 0 over what is left of training, `constant` leaves it.
    Step: `accumulate` computes the gradient of a batch in that many parts of at least two images, one after the other
    (less memory; batch norm and `loss.branch_threshold` see a part at a time); `clip_norm` scales the gradient down to
    this norm over all parameters together.
    Average: with `ema_decay` d the weights w are followed by a <- d a + (1 - d) w after every step, from the initial
    weights on; validation, test and what ships use a, training goes on from w.

    `momentum`, `nesterov` and `reset_momentum` are for sgd, `betas` for adamw, `milestones` and `gamma` for multistep.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    reset_momentum: bool = False  # the authors' code builds a new optimiser at each milestone
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: float = Field(default=5e-4, ge=0)
    decay_batch_norm: bool = False  # the authors' code: true
    batch_size: int = Field(default=128, ge=2)
    keep_partial_batch: bool = False  # the authors' code: true
    accumulate: int = Field(default=1, ge=1)
    clip_norm: float | None = Field(default=None, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    schedule: Literal["multistep", "cosine", "constant"] = "multistep"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.3, 0.6, 0.8)
    gamma: float = Field(default=0.2, gt=0, le=1)
    warmup: Fraction = 0.0

    @field_validator("milestones")
    @classmethod
    def _milestones_rise(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError("milestones are fractions of the epochs in rising order")
        return milestones

    @model_validator(mode="after")
    def _momentum_belongs_to_sgd(self) -> Self:
        sgd = self.name == "sgd" and self.momentum > 0
        if self.nesterov and not sgd:
            raise ValueError(f"nesterov: needs sgd with a momentum above 0, {self._momentum()}")
        if self.reset_momentum and not (sgd and self.schedule == "multistep"):
            raise ValueError(
                f"reset_momentum: needs sgd with a momentum above 0 and schedule multistep, {self._momentum()},"
                f" schedule {self.schedule}"
            )
        return self

    @model_validator(mode="after")
    def _warmup_ends_before_the_first_drop(self) -> Self:
        if self.schedule == "multistep" and self.milestones and self.warmup > self.milestones[0]:
            raise ValueError(
                f"warmup: must end by the first of milestones ({self.milestones[0]:g}), got {self.warmup:g}"
            )
        return self

    @model_validator(mode="after")
    def _parts_hold_two_images(self) -> Self:
        if 2 * self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate: must leave two images in each part of a batch of {self.batch_size}, got {self.accumulate}"
            )
        return self

    def _momentum(self) -> str:
        return f"got {self.name}, momentum {self.momentum:g}"
