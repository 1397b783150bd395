"""The baseline that is as large as DKS in training: its width is what the page says, at every scale."""

import re

import pytest
import torch
from pages import ROOT

from dks_study.method.networks import build_network
from dks_study.spec.files import load_study
from dks_study.spec.study import arm_run
from dks_study.training.cost import count_cost

IMAGES = {"digits": (1, 10), "fashion_mnist": (1, 10), "image_folder": (3, 10), "cifar100": (3, 100)}
PAGE = (ROOT / "docs" / "method" / "controls.md").read_text(encoding="utf-8")
WIDTHS = dict(re.findall(r"^\| `(\w+)` \| `(backbone\.\w+: [\d.]+)` \|$", PAGE, re.MULTILINE))


def parameters(study, arm, when="train"):
    channels, classes = IMAGES[study.trial.data.name]
    with torch.device("meta"):
        network = build_network(arm_run(study, arm, {}), channels, classes, seed=0)
    return getattr(count_cost(network, (channels, 8, 8)), f"params_{when}")


def test_as_it_ships_it_is_the_nearest_to_dks_on_the_laptop():
    assert len(WIDTHS) == 9
    study = load_study("controls")
    wide, dks = (parameters(study, arm) for arm in ("baseline_wide", "dks"))
    assert abs(wide / dks - 1) < 0.05
    assert parameters(study, "baseline_wide", "inference") == wide, "it ships as it is"
    width = study.arms["baseline_wide"]["backbone.base_channels"]
    assert WIDTHS["laptop"] == f"backbone.base_channels: {width}"
    for other in (width - 1, width + 1):
        changed = load_study("controls", None, [f"arms.baseline_wide.backbone.base_channels={other}"])
        assert abs(parameters(changed, "baseline_wide") - dks) > abs(wide - dks)


@pytest.mark.slow
@pytest.mark.parametrize("profile", [profile for profile in WIDTHS if profile != "laptop"])
def test_at_other_scales_it_is_as_the_page_says(profile):
    arm = f"arms.baseline_wide={{branches.taps: [], loss.pairing: none, {WIDTHS[profile]}}}"
    study = load_study("controls", profile, [arm])
    assert abs(parameters(study, "baseline_wide") / parameters(study, "dks") - 1) < 0.05
