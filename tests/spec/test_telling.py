"""What a plan says before a study begins: labels made wrong, perhaps somebody's own, and arms that are one."""

import pytest

from dks_study.cli import main
from dks_study.spec.files import load_study
from dks_study.spec.telling import same_arms, sections_in_words, wrong_labels

WITHOUT = ["trial.branches.taps=[]"]
COPY = ["arms.copy={loss.pairing: dense}"]
IN_BOTH = "trial.data.label_noise_in=[train, validation]"


@pytest.mark.parametrize(
    ("space", "profile", "sets", "words"),
    [
        ("does_it_help", "colour", [], "40 % of the training labels are wrong (symmetric)"),
        ("does_it_help", "colour", [IN_BOTH], "40 % of the training and validation labels are wrong (symmetric)"),
        ("does_it_help", "colour_fast", [], ""),
        ("label_noise", None, [], ""),  # arms differ, and their keys say it
    ],
)
def test_the_plan_says_which_labels_are_made_wrong(space, profile, sets, words, capsys):
    assert wrong_labels(load_study(space, profile, sets)) == words
    options = [*(["--profile", profile] if profile else []), *(word for each in sets for word in ("--set", each))]
    assert main(["--space", space, *options, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert (f"\n{words}: trial.data.label_noise\n" in out) == bool(words)
    assert ("trial.data.label_noise" in out) == bool(words)


@pytest.mark.parametrize(
    ("space", "sets", "arms"),
    [
        ("does_it_help", [], []),
        ("does_it_help", COPY, [["dks", "copy"]]),
        ("does_it_help", WITHOUT, [["baseline", "ds", "dks"]]),  # nobody is left to teach
        ("loss_weights", [], [["ds", "ds_searched"], ["dense", "dense_searched"]]),
        ("controls", [], []),
    ],
)
def test_the_plan_names_arms_that_are_one_training(space, sets, arms, capsys):
    assert same_arms(load_study(space, None, sets)) == arms
    assert main(["--space", space, *(word for each in sets for word in ("--set", each)), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("the same training as written: ")] == [
        f"the same training as written: {', '.join(each)}" for each in arms
    ]


@pytest.mark.parametrize(
    ("sets", "gone"),
    [
        ([], []),
        (["arms.dks={loss: {pairing: dense}}"], []),  # the study has written nothing there
        (["arms.dks={backbone: {name: wrn, depth: 10, width: 1}}"], []),  # of another family
        (["arms.dks={backbone: {name: resnet, depth: 14}}"], ["dks: backbone, backbone.base_channels"]),
        (
            ["trial.loss.terms.at={kind: dkd, pairs: [dense]}", "arms.ds={loss.pairing: none, loss.terms: {}}"],
            ["ds: loss.terms, loss.terms.at"],
        ),
        (
            [
                "trial.loss.terms.at={kind: dkd, pairs: [dense], warmup: 0.1}",
                "arms.ds={loss: {pairing: none, terms: {at: {kind: dkd, pairs: [dense]}}}}",
            ],
            ["ds: loss, loss.terms.at.warmup"],
        ),
    ],
)
def test_the_plan_names_what_a_section_that_is_written_whole_leaves_out(sets, gone, capsys):
    sets = ["arms.baseline={}", *sets]
    words = [text.replace(", ", " is written whole, and leaves out the study's ", 1) for text in gone]
    assert sections_in_words(load_study("does_it_help", None, sets)) == words
    assert main(["--space", "does_it_help", *(word for each in sets for word in ("--set", each)), "--dry-run"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "written whole" in line] == words
