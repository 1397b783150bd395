"""How weights are updated: optimiser, learning-rate schedule, and what is done to gradients and weights around it."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dks_study.spec.base import Extended, Fraction


class OptimiserSpec(Extended):
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

    Attributes:
        name: sgd or adamw.
        lr: the learning rate, after warm-up and before the first drop.
        momentum, nesterov: for sgd alone.
        reset_momentum: for sgd and multistep alone: momentum is lost at each milestone, where the authors' code
            builds a new optimiser.
        betas: for adamw alone.
        weight_decay: of the weights of convolutions and linear layers.
        decay_batch_norm: all parameters decay, as in the authors' code.
        batch_size: images of a step, over all workers together.
        keep_partial_batch: the last batch of an epoch is used though it is not full, as in the authors' code.
        accumulate: the gradient of a batch in that many parts of at least two images.
        clip_norm: the largest norm of the gradient; left out: any.
        ema_decay: d of the average of the weights; left out: no average.
        schedule: what becomes of the rate: multistep, cosine or constant.
        milestones: for multistep: when the rate drops, in fractions of training.
        gamma: for multistep: what the rate is multiplied by at each milestone.
        warmup: the fraction of training over which the rate rises.
        pretrained_lr_factor: multiplies the rate of what `backbone.weights` gave; the rest of the backbone, such as a
            last layer for other classes, has the whole rate.
        branch_lr_factor: multiplies the rate of the branches.
        freeze_pretrained: the fraction of training over which what `backbone.weights` gave is not updated; batch norm
            uses and follows the batches all the same.
    """

    LATER = ("pretrained_lr_factor", "branch_lr_factor", "freeze_pretrained")

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    reset_momentum: bool = False
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: float = Field(default=5e-4, ge=0)
    decay_batch_norm: bool = False
    batch_size: int = Field(default=128, ge=2, le=2**20)
    keep_partial_batch: bool = False
    accumulate: int = Field(default=1, ge=1, le=2**19)
    clip_norm: float | None = Field(default=None, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    schedule: Literal["multistep", "cosine", "constant"] = "multistep"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.3, 0.6, 0.8)
    gamma: float = Field(default=0.2, gt=0, le=1)
    warmup: Fraction = 0.0
    pretrained_lr_factor: float = Field(default=1.0, gt=0)
    branch_lr_factor: float = Field(default=1.0, gt=0)
    freeze_pretrained: Fraction = 0.0

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
