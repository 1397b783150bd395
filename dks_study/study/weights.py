"""The weights that a study's training starts from: which files, with which content, and what of them is left out.

A study whose files changed does not go on, as its table would mix trials of both.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from dks_study.method.backbones import build_backbone
from dks_study.method.pretrained import start_from, weights_path
from dks_study.spec.backbone import BackboneSpec
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.trial import RunSpec
from dks_study.study.identity import file_hash
from dks_study.study.provenance import recorded_of
from dks_study.training.arm_checks import StudyError
from dks_study.training.data import load


def look_at_weights(study: StudySpec, folder: Path, note: Callable[[str], None]) -> dict[str, str]:
    """Return the hash of each file of weights of `study`, by `backbone.weights` as it is written; {}: there are none.

    `note` is told where each is and what of it is left out. Weights that an axis chooses are not looked at here: like
    all others they are on record with each trial (origin.json).

    Raises:
        StudyError: if there are no such weights, they are of another network, or others than the study in `folder`
            began with.
        DataError: if the data, whose classes the last layer has, cannot be had.
        ProvenanceError: if provenance.json is damaged.
    """
    found, lines = dict[str, str](), dict[str, list[str]]()
    for arm in study.arms:
        for key, backbone in (run := arm_run(study, arm, {})).pretrained.items():
            try:
                path, head = weights_path(backbone), _left_out(run, backbone)
            except ValueError as error:
                raise StudyError(f"arms.{arm}: trial.{key.removesuffix('backbone')}{error}") from error
            found[str(backbone.weights)] = digest = file_hash(path)
            rest = f"without {', '.join(head)}, which are of other classes" if head else "all of it fits"
            lines.setdefault(f"Weights: {path} (sha256 {digest}), {rest}", []).append(arm)
    _refuse_others(folder, found)
    for line, arms in lines.items():
        note(f"{line} ({', '.join(dict.fromkeys(arms))}).")
    return found


def _left_out(run: RunSpec, backbone: BackboneSpec) -> tuple[str, ...]:
    data = load(run.data)
    with torch.device("meta"):
        network = build_backbone(backbone, data.image_shape[0], data.classes, seed=0)
    return start_from(network, backbone, data.classes)


def _refuse_others(folder: Path, found: dict[str, str]) -> None:
    before = recorded_of(folder).get("weights", {})
    for name, digest in found.items():
        if before.get(name, digest) != digest:
            rule = "weights that a study starts from must not change, as its table would mix both"
            advice = "put them back, or give another --results"
            raise StudyError(f"{folder}: {rule}: {name} had sha256 {before[name]}, has {digest}; {advice}")
