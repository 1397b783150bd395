"""The frozen, validated description of one training run: TrialSpec and its sections.

Each component owns its section and checks itself; every message states the rule. Percentages are named as such,
schedules are fractions of the epochs, so that a shorter search trains on the same shape of schedule.
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from dks_study.spec.backbone import BackboneSpec, check_module_name, check_tap, is_stage, split_tap
from dks_study.spec.base import MOST_EPOCHS, Extended, Seed, Spec
from dks_study.spec.branches import BranchSpec, branch_layout
from dks_study.spec.cohort import Ensemble, PeerSpec, TeacherSpec, classifier_names
from dks_study.spec.compute import Computation, ComputeSpec
from dks_study.spec.data import DataSpec
from dks_study.spec.loss import OF_LABELS, LossSpec
from dks_study.spec.optimiser import OptimiserSpec
from dks_study.spec.pairing import ENSEMBLE, MAIN, TEACHER, network_of, pairing_matrix
from dks_study.spec.terms import OF_IMAGES, check_terms

Scalar = bool | int | float | str
Setting = Mapping[str, Scalar]
KeepPredictions = Literal["all", "main", "none"]
LEAST_SHARE = 0.01  # of a GPU: Ray counts in steps of 0.0001, and would give none


class ResourceSpec(Spec):
    """What one trial gets.

    Attributes:
        workers: 0: it trains in the trial's own process; N: a Ray Train group of N workers (DDP), which share a batch.
        cpus_per_worker: CPUs, and threads, of each worker (0 workers: of the trial).
        gpus_per_worker: 0, 1, or a part of one, at least 0.01; with several workers 0 or 1, as NCCL refuses two ranks
            on one GPU.
    """

    workers: int = Field(default=0, ge=0, le=1024)
    cpus_per_worker: int = Field(default=1, ge=1, le=4096)
    gpus_per_worker: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _whole_gpus_for_groups(self) -> Self:
        if self.workers > 1 and self.gpus_per_worker % 1:
            raise ValueError(f"gpus_per_worker: must be 0 or 1 with several workers (NCCL), got {self.gpus_per_worker}")
        if self.gpus_per_worker > 1:
            raise ValueError(f"gpus_per_worker: must be at most 1 (use more workers), got {self.gpus_per_worker}")
        if 0 < self.gpus_per_worker < LEAST_SHARE:
            raise ValueError(f"gpus_per_worker: must be 0 or at least {LEAST_SHARE}, got {self.gpus_per_worker}")
        return self

    @property
    def cpus(self) -> int:
        """CPUs that one trial takes."""
        return max(1, self.workers) * self.cpus_per_worker

    @property
    def gpus(self) -> float:
        """GPUs that one trial takes."""
        return max(1, self.workers) * self.gpus_per_worker


class RunSpec(Extended):
    """Everything about a training run but its seed and its part in the study.

    Attributes:
        backbone: the network that ships, with the keys of its family.
        data: the data set, its split, and what is done to the training images.
        branches: where auxiliary classifiers attach, and how they are built.
        peers: networks that learn beside this one (DML, DCM), nine at most.
        teacher: a network that teaches and does not learn: a trained one (KD), or this one at another time.
        ensemble: teachers made of the network's own classifiers, whose weights for each image are learned, and dropped
            with the branches. gate: one of all classifiers (ONE), `ensemble.gate`; attention: for each branch one of
            all branches, `ensemble.stage1`, and for `main` their mean (OKDDip), `ensemble.main`. They teach with
            loss.pairing from_ensemble.
        loss: the terms of the loss: who teaches whom, and all weights.
        optimiser: how weights are updated, and how the rate falls.
        epochs: the length of training; where an axis searches it, the common maximum.
        resources: CPUs, GPUs and workers of one trial.
        compute: number format, memory layout, compilation; the same in the whole study.
        exits: measure early exits, too: what every classifier costs as one, and, with thresholds of confidence that
            validation chooses for a budget, accuracy against multiply-accumulates; the same in the whole study.
    """

    LATER = ("ensemble", "exits")

    backbone: BackboneSpec
    data: DataSpec
    branches: BranchSpec = BranchSpec()
    peers: tuple[PeerSpec, ...] = Field(default=(), max_length=9)
    teacher: TeacherSpec | None = None
    ensemble: Ensemble | None = None
    loss: LossSpec = LossSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    epochs: int = Field(ge=1, le=MOST_EPOCHS)
    resources: ResourceSpec = ResourceSpec()
    compute: ComputeSpec = ComputeSpec()
    exits: bool = False

    @model_validator(mode="after")
    def _shared_batch_norm_has_gpus_to_share(self) -> Self:
        workers, gpus = self.resources.workers, self.resources.gpus_per_worker
        if self.compute.sync_batch_norm and not (workers > 1 and gpus > 0):
            raise ValueError(
                "compute.sync_batch_norm: needs resources.workers above 1 and a GPU for each (PyTorch's SyncBatchNorm"
                f" refuses CPUs), got workers {workers}, gpus_per_worker {gpus:g}"
            )
        return self

    @model_validator(mode="after")
    def _what_is_compiled_is_differentiated_once(self) -> Self:
        if self.compute.compile and self.loss.of_images:
            rule = f"must be false with terms of kind {' and '.join(OF_IMAGES)}, which PyTorch cannot compile"
            raise ValueError(f"compute.compile: {rule}, got true")
        return self

    @model_validator(mode="after")
    def _what_is_pretrained_is_given(self) -> Self:
        for key, plain in (("pretrained_lr_factor", 1.0), ("freeze_pretrained", 0.0)):
            if not self.pretrained and getattr(self.optimiser, key) != plain:
                raise ValueError(f"optimiser.{key}: needs backbone.weights, got {getattr(self.optimiser, key):g}")
        return self

    @model_validator(mode="after")
    def _tf32_is_of_gpus(self) -> Self:
        if self.compute.precision == "tf32" and not self.resources.gpus_per_worker:
            raise ValueError("compute.precision: must not be tf32 on CPUs (resources.gpus_per_worker 0), got 'tf32'")
        return self

    @model_validator(mode="after")
    def _taps_are_there(self) -> Self:
        _check_branches(self.backbone, self.branches, "")
        for index, peer in enumerate(self.peers):
            _check_branches(peer.backbone or self.backbone, peer.branches or self.branches, f"peers.{index}.")
        return self

    @model_validator(mode="after")
    def _ensembles_can_learn(self) -> Self:
        if self.ensemble is None:
            pairing = self.loss.pairing
            if "from_ensemble" in ((pairing,) if isinstance(pairing, str) else pairing):
                raise ValueError("loss.pairing: from_ensemble needs ensemble (gate or attention), got null")
            return self
        branches, got = 2 if self.ensemble == "attention" else 1, f"got {self.ensemble!r}"
        if len(self.branches.taps) < branches:
            rule = f"must be left out with fewer than {branches} branch{'es' if branches > 1 else ''}"
            raise ValueError(f"ensemble: {rule}, {got} with {len(self.branches.taps)}")
        if self.ensemble == "attention" and self.loss.detach_teacher:
            raise ValueError(
                "loss.detach_teacher: must be false with ensemble attention, which learns as a teacher, got true"
            )
        return self

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        try:
            pair = pairing_matrix(self.loss.pairing, self.classifiers)
        except ValueError as error:
            raise ValueError(f"loss.pairing: {error}") from error
        for name, row in zip(self.classifiers, pair, strict=True):
            if network_of(name) == ENSEMBLE and not any(row):
                raise ValueError(
                    f"loss.pairing: must have each ensemble teach (from_ensemble), got nobody whom {name} does"
                )
        for name in self.loss.branch_weight_by_tap:
            other = name.rpartition(".")[2] in (MAIN, TEACHER) or network_of(name) == ENSEMBLE
            if name not in self.classifiers or other:
                raise ValueError(f"loss.branch_weight_by_tap: must name taps that carry a branch, got {name!r}")
        return self

    @model_validator(mode="after")
    def _terms_compare_what_is_there(self) -> Self:
        networks = {f"peer{number}": peer.backbone or self.backbone for number, peer in enumerate(self.peers, start=1)}
        networks |= {"": self.backbone} | ({TEACHER: self.teacher.backbone or self.backbone} if self.teacher else {})
        check_terms(self.loss.terms, self.classifiers, networks, mixes=self.data.mixes)
        if self.loss.teacher_signal in OF_LABELS and self.data.mixes:
            rule = f"must not need one true class ({', '.join(OF_LABELS)}) with data.mixup_alpha or data.cutmix_alpha"
            raise ValueError(f"loss.teacher_signal: {rule}, got {self.loss.teacher_signal!r}")
        if self.loss.teacher_signal == "start" and self.teacher:
            rule = "must not be start with a teacher, which is frozen or starts as the network does"
            raise ValueError(f"loss.teacher_signal: {rule}, got 'start'")
        return self

    @property
    def pretrained(self) -> dict[str, BackboneSpec]:
        """By their keys, backbones that start from weights of a file; a peer without one has the run's."""
        peers = {f"peers.{index}.backbone": peer.backbone for index, peer in enumerate(self.peers) if peer.backbone}
        return {key: each for key, each in {"backbone": self.backbone, **peers}.items() if each.weights is not None}

    @property
    def computation(self) -> Computation:
        """How it is computed with its resources, with nothing left to `auto`."""
        return self.compute.chosen(on_gpu=self.resources.gpus_per_worker > 0)

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of all classifiers: a teacher's, the peers', ensembles, then the own, shallow to deep, `main` last."""
        return classifier_names(self.branches, self.peers, self.teacher, self.ensemble)

    def predicting(self, keep: KeepPredictions) -> tuple[str, ...]:
        """Return the classifiers whose predictions are kept, `main` last: none of a peer's or a teacher's."""
        own = [name for name in self.classifiers if network_of(name) == network_of(MAIN)]
        return {"all": tuple(own), "main": (MAIN,), "none": ()}[keep]


def _check_branches(backbone: BackboneSpec, branches: BranchSpec, prefix: str) -> None:
    """Check that every tap is in the backbone and can grow what the recipe asks for.

    Raises:
        ValueError: one line that begins with the key.
    """
    for tap in branches.taps:
        try:
            if blocks := backbone.blocks_per_stage:
                split_tap(tap)
                check_tap(backbone.name, blocks, tap)
                branch_layout(backbone, blocks, branches, tap)
            elif not is_stage(tap):  # the network itself knows what it has when it is built
                check_module_name(tap)
        except ValueError as error:
            raise ValueError(f"{prefix}{error}") from error


class TrialSpec(RunSpec):
    """The whole truth about one training run; only a `confirm` trial ever looks at the test set."""

    phase: Literal["search", "confirm"]
    seed: Seed
