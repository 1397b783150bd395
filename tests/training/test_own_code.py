"""A network of one's own that cannot be used: one line by key, before anything trains, whatever it does."""

import pytest
import torch
from studies import small_study

from dks_study.method.backbones import build_backbone
from dks_study.spec.backbone import ExternalSpec
from dks_study.spec.study import arm_trial
from dks_study.study.trial import read_error, run_trial
from dks_study.training.arm_checks import StudyError, check_arms


def study(name, arm="baseline"):
    return small_study(trials=0, arms=(arm,), backbone={"name": f"own_networks:{name}"}, branches={"taps": ["stage1"]})


@pytest.mark.parametrize("arm", ["baseline", "ds"])
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("OneMore", r"output: the logits must be \[B, classes\], here \[B, 10\], got \[B, 11\]"),
        (
            "Locked",
            r"name: must be a network that can be copied \(copy.deepcopy\), got 'own_networks:Locked': TypeError: ",
        ),
        ("EndsWhenCopied", "name: must be a network that can be copied .*: SystemExit: copied"),
        ("EndsWhenRead", "name: must be a network that can be built and read, got .*: SystemExit: read"),
        ("EndsWhenAsked", "name: must be a network that can be .*: SystemExit: asked"),
    ],
)
def test_it_is_refused_before_anything_trains(name, line, arm):
    with pytest.raises(StudyError, match=f"^arms.{arm}: trial.backbone.{line}") as refused:
        check_arms(study(name, arm))
    assert len(str(refused.value).splitlines()) == 1


def test_so_is_one_with_other_logits_that_has_its_weights_already():
    with pytest.raises(ValueError, match=r"^backbone.output: the logits must be .* here \[B, 5\], got \[B, 6\]"):
        build_backbone(ExternalSpec(name="own_networks:OneMore"), 3, 5, seed=0)


def test_one_that_ends_the_process_in_training_has_failed(tmp_path):
    trial = arm_trial(study("EndsInTraining"), "baseline", {}, epochs=1, phase="confirm", seed=0)
    with pytest.raises(RuntimeError, match=r"^the trial ended its process: SystemExit: 0$"):
        run_trial(trial, tmp_path, torch.device("cpu"), lambda metrics: None)
    assert read_error(tmp_path) == "SystemExit: 0"
