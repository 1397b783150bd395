"""Every question and every scale that ships: it loads, its axes can be sampled, its networks exist and train."""

from dataclasses import replace
from functools import cache

import optuna
import pytest
import torch

from dks_study.method.branches import ANY_SIZE
from dks_study.method.networks import build_network
from dks_study.spec.files import load_study
from dks_study.spec.shipped import SPACES
from dks_study.spec.study import arm_run, arm_trial
from dks_study.spec.trial import ResourceSpec, TrialSpec
from dks_study.spec.yamldoc import SpecError, load_document
from dks_study.study.history import distribution
from dks_study.training.data import DataSet, Split, load
from dks_study.training.team import Team
from dks_study.training.trainer import fit

QUESTIONS = sorted(path.stem for path in SPACES.glob("*.yaml"))
PROFILES = sorted(path.stem for path in (SPACES / "profiles").glob("*.yaml"))
CONTRACT = {
    SPACES: ("# Question:", "# Table:", "# Command:", "# Cost:"),
    SPACES / "profiles": ("# Scale:", "# Machine:"),
    SPACES / "recipes": ("# Recipe:", "# Source:"),
}
SHAPES = {
    "digits": (1, 10),
    "fashion_mnist": (1, 10),
    "image_folder": (3, 10),
    "cifar100": (3, 100),
    "imagenet": (3, 1000),
}
# Transformers take images of one size alone.
ONE_SIZE = {"vit_digits": (8, 8), "cifar100_vit_s": (32, 32), "imagenet_vit_s": (224, 224)}
ON_LAPTOP = [name for name in QUESTIONS if load_document(SPACES / f"{name}.yaml").values["profile"] == "laptop"]


@cache
def study(question, profile=None):
    return load_study(question, profile)


def test_what_should_ship_ships():
    assert set(QUESTIONS) >= {
        *("dense_vs_oneway", "branch_placement", "branch_recipe", "loss_weights", "pairing_graphs", "label_noise"),
        *("training_size", "joint", "against_the_family", "controls", "paper_cifar100", "paper_imagenet"),
    }
    assert set(PROFILES) == {
        *(
            "laptop",
            "desktop",
            "colour",
            "colour_fast",
            "colour_paper",
            "cifar100_wrn28_10",
            "cifar100_resnet32",
            "cifar100_resnet110",
            "cifar100_mobilenet",
        ),
        *("imagenet_resnet18", "imagenet_resnet50", "imagenet_resnet152"),
        *("vit_digits", "cifar100_vit_s", "imagenet_vit_s"),
    }


@pytest.mark.parametrize("folder", CONTRACT, ids=lambda folder: folder.name)
def test_each_file_opens_with_its_contract(folder):
    for path in folder.glob("*.yaml"):
        comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert comment[0].startswith(CONTRACT[folder][0]), path
        for part in CONTRACT[folder]:
            assert any(line.startswith(part) for line in comment), (path, part)


# Their taps are those of networks with three stages.
MORE_STAGES = [profile for profile in PROFILES if any(word in profile for word in ("imagenet", "mobile", "vit"))]
MIXED = ["cifar100_vit_s", "imagenet_vit_s"]  # their images have no one true class
THREE_STAGES = dict.fromkeys(("branch_placement", "joint", "teacher"), MORE_STAGES)
# Their networks are made wider by another key, or by none: what `controls` shows as wide is given along.
OTHER_WIDTHS = [
    profile for profile in PROFILES if any(word in profile for word in ("imagenet", "mobile", "vit", "wrn"))
]
REFUSED = {**THREE_STAGES, "against_the_family": MIXED, "controls": OTHER_WIDTHS}


@pytest.mark.parametrize(
    ("space", "profile"),
    [(space, profile) for space in QUESTIONS for profile in PROFILES if profile not in REFUSED.get(space, [])],
)
def test_every_shipped_space_loads_with_every_profile(space, profile):
    chosen = study(space, profile)
    for arm in chosen.arms:
        for key, axis in chosen.axes_of(arm).items():
            assert all(arm_run(chosen, arm, {key: end}) for end in axis.ends)
    assert len(chosen.report_seeds) >= 6 or space == "teacher"  # which claims nothing


@pytest.mark.parametrize("profile", [profile for profile in OTHER_WIDTHS if profile not in MIXED])
def test_a_wider_baseline_is_given_along_where_backbones_have_no_such_key(profile):
    with pytest.raises(SpecError, match=r"arms\.baseline_wide\.backbone\.base_channels: unknown key; known") as caught:
        study("controls", profile)
    assert "\n" not in str(caught.value)
    given = "arms.baseline_wide={branches.taps: [], loss.pairing: none}"
    assert "baseline_wide" in load_study("controls", profile, [given]).arms


@pytest.mark.parametrize("profile", MIXED)
@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("against_the_family", "arms.dkd.loss.terms.dkd.kind: must not be dkd, which needs one true class"),
        ("controls", "teacher_signal: must not need one true class"),
    ],
)
def test_arms_that_need_one_true_class_are_refused_where_images_are_mixed(space, profile, message):
    with pytest.raises(SpecError) as caught:
        study(space, profile)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_axis_of_every_question_can_be_sampled(question):
    chosen = study(question)
    for arm in chosen.arms:
        space = {key: distribution(axis) for key, axis in chosen.axes_of(arm).items()}
        sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(3):
            arm_run(chosen, arm, sampled.ask(space).params)


def build_all(chosen, pixels=ANY_SIZE):
    runs = [arm_run(chosen, arm, {}) for arm in chosen.arms]
    parts = {"backbone", "branches", "peers", "teacher"}  # arms that differ in their loss alone have one network
    for run in {run.model_dump_json(include=parts): run for run in runs}.values():
        with torch.device("meta"):
            net = build_network(run, *SHAPES[run.data.name], seed=0, pixels=pixels)
        assert next(net.parameters()).is_meta


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_network_of_every_question_exists(question):
    build_all(study(question))


@pytest.mark.parametrize(
    "profile", [pytest.param(each, marks=pytest.mark.slow if each in ONE_SIZE else ()) for each in PROFILES]
)
def test_every_network_of_every_scale_exists(profile):
    build_all(study("dense_vs_oneway", profile), ONE_SIZE.get(profile, ANY_SIZE))


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["baseline", "ds", "dks"])
def test_a_small_transformer_trains_on_digits(arm):
    chosen = study("does_it_help", "vit_digits")
    trial = arm_trial(chosen, arm, {}, epochs=1, phase="confirm", seed=0)
    (report,) = fit(trial, one_batch(), Team.here(torch.device("cpu")))
    assert report.metrics["test/loss/main"] > 0
    small = {"img_size": 32, "patch_size": 4, "depth": 9, "embed_dim": 12, "num_heads": 2, "drop_path_rate": 0.5}
    whole = arm_trial(study("does_it_help", "cifar100_vit_s"), arm, {}, epochs=1, phase="search", seed=0)
    backbone = whole.backbone.model_copy(update={"options": small})
    less = {"backbone": backbone, "resources": ResourceSpec(), "optimiser": whole.optimiser.model_copy(update=TINY)}
    (report,) = fit(whole.model_copy(update=less), colours(), Team.here(torch.device("cpu")))
    assert report.metrics["train/loss"] > 0


TINY = {"batch_size": 16}


def colours():
    """Forty random images of the size and the classes of CIFAR-100."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 32, 32), generator=random, dtype=torch.uint8)
    part = Split(images, torch.arange(40) % 100)
    return DataSet(part, part, part, 100, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@cache
def one_batch():
    """The laptop's digits, cut down to one training batch."""
    data = load(study("dense_vs_oneway").trial.data)
    few = range(128), range(40), range(40)
    parts = (data.train, data.validation, data.test)
    train, validation, test = (part.take(list(indices)) for part, indices in zip(parts, few, strict=True))
    return replace(data, train=train, validation=validation, test=test)


@cache
def metrics_of_a_batch(trial):
    """What one epoch of one batch reports; many questions have an arm in common, which is trained once."""
    (report,) = fit(TrialSpec.model_validate_json(trial), one_batch(), Team.here(torch.device("cpu")))
    return report.metrics


@pytest.mark.parametrize("question", ON_LAPTOP)
def test_every_arm_of_the_laptop_s_questions_trains_a_batch(question):
    chosen = study(question)
    for arm in chosen.arms:
        trial = arm_trial(chosen, arm, {}, epochs=1, phase="confirm", seed=0)
        metrics = metrics_of_a_batch(trial.model_dump_json())
        assert metrics["train/loss"] > 0
        assert {f"test/top1/{name}" for name in trial.classifiers} <= metrics.keys()


def test_the_published_weights_are_the_first_to_be_tried():
    for question in QUESTIONS:
        for arm in study(question).arms:
            loss = arm_run(study(question), arm, {}).loss
            if loss.pairing in ("none", "dense"):
                assert (loss.synergy_weight, loss.branch_weight, loss.temperature, loss.main_weight) == (1, 1, 1, 1)
