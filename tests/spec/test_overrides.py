"""What lies over what: recipe, profile, space, and `--set`, which reaches every key."""

import pytest
from test_files import SPACE, problem

from dks_study.spec.files import load_study
from dks_study.spec.study import arm_run


def test_space_wins_over_profile_and_set_over_both(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SPACE.replace("trial:\n", "trial:\n  optimiser: {momentum: 0.7}\n"))
    assert load_study(str(path)).trial.optimiser.momentum == 0.7
    assert load_study(str(path)).trial.data.label_noise == 0.4, "from the profile"
    sets = ["trial.optimiser.momentum=0.8", "trial.optimiser.momentum=0.9"]
    assert load_study(str(path), None, sets).trial.optimiser.momentum == 0.9


@pytest.mark.parametrize(
    ("override", "value_of"),
    [
        ("arms.dense.loss.synergy_weight=0.5", lambda s: arm_run(s, "dense", {}).loss.synergy_weight),
        ("search.axes.optimiser.lr.float=[0.05, 0.5]", lambda s: s.search.axes["optimiser.lr"].float_range[0] * 10),
        ("trial.loss.branch_weight_by_tap={stage1: 0.5}", lambda s: s.trial.loss.branch_weight_by_tap["stage1"]),
        ("trial.branches.taps=[stage1]", lambda s: s.trial.branches.taps == ("stage1",) and 0.5),
        ("trial.data.validation_fraction=0.5", lambda s: s.trial.data.validation_fraction),
        ("trial.backbone.base_channels=5", lambda s: s.trial.backbone.base_channels / 10),
        ("trial.resources.cpus_per_worker=5", lambda s: s.trial.resources.cpus_per_worker / 10),
        ("trial.optimiser.milestones=[0.5]", lambda s: s.trial.optimiser.milestones[0]),
        ("arms.ds={optimiser.momentum: 0.5}", lambda s: arm_run(s, "ds", {}).optimiser.momentum),
        ("arms.new.optimiser.momentum=0.5", lambda s: arm_run(s, "new", {}).optimiser.momentum),
        ("arms.dense.loss.pairing={main>stage1: 0.5}", lambda s: arm_run(s, "dense", {}).loss.pairing["main>stage1"]),
        ("search.axes.optimiser.momentum={float: [0.5, 0.95]}", lambda s: s.search.axes["optimiser.momentum"].ends[0]),
        (
            "search.axes.optimiser.weight_decay.choice=[0.5, 0.0005]",
            lambda s: s.search.axes["optimiser.weight_decay"].ends[0],
        ),
        ("search.axes.loss.synergy_weight={float: [0.5, 2], arms: [dense]}", lambda s: len(s.axes_of("top_down")) / 4),
        ("search.axes.optimiser.lr.log=false", lambda s: 0.5 - s.search.axes["optimiser.lr"].log),
        ("search.trials=5", lambda s: s.search.trials / 10),
        ("search.repeats=5", lambda s: s.search.repeats / 10),
        ("search.race_seeds=5", lambda s: s.search.race_seeds / 10),
        ("search.finalists=5", lambda s: s.search.finalists / 10),
        ("trial.data.label_noise_in=[train, validation]", lambda s: len(s.trial.data.label_noise_in) / 4),
        ("search.parallel=5", lambda s: s.search.parallel / 10),
        ("report_seeds=[5, 6, 7, 8]", lambda s: s.report_seeds[0] / 10),
        ("max_failures=5", lambda s: s.max_failures / 10),
        ("table.title=Five", lambda s: len(s.table.title) / 8),
        ("question=a=b?", lambda s: len(s.question) / 8),
    ],
)
def test_set_reaches_every_key(override, value_of):
    sets = [override] if "by_tap" not in override else [override, "arms.baseline.loss.branch_weight_by_tap={}"]
    assert value_of(load_study("dense_vs_oneway", None, sets)) == 0.5


def test_set_replaces_whatever_stands_at_its_key_a_section_too():
    assert load_study("dense_vs_oneway").arms["baseline"] == {"branches.taps": [], "loss.pairing": "none"}
    assert load_study("dense_vs_oneway", None, ["arms.baseline={}"]).arms["baseline"] == {}
    few = load_study("dense_vs_oneway", None, ["arms={baseline: {branches.taps: [], loss.pairing: none}, dense: {}}",
                                               "search={}"])  # fmt: skip
    assert (list(few.arms), few.search.axes, few.search.trials) == (["baseline", "dense"], {}, None)
    laptop = load_study("dense_vs_oneway").trial
    assert laptop.optimiser.model_fields_set - {"lr"}, "the profile gives more than the rate"
    fresh = load_study("dense_vs_oneway", None, ["trial.optimiser={lr: 0.1}"]).trial
    assert fresh.optimiser.model_fields_set == {"lr"}
    assert fresh.loss == laptop.loss
    one = load_study("dense_vs_oneway", None, ["trial.optimiser={lr: 0.1}", "trial.optimiser.momentum=0.8"]).trial
    assert one.optimiser.model_fields_set == {"lr", "momentum"}, "in the order in which they are given"
    axis = load_study("dense_vs_oneway", None, ["search.axes.optimiser.lr={choice: [0.1, 0.2]}"]).search.axes
    assert axis["optimiser.lr"].model_fields_set == {"choice"}
    assert len(axis) == 2


def test_what_set_replaces_does_not_come_back_from_a_recipe():
    sets = ["recipe=cifar_wrn", "trial.optimiser={lr: 0.1}"]
    for overrides in (sets, sets[::-1]):
        assert load_study("dense_vs_oneway", None, overrides).trial.optimiser.model_fields_set == {"lr"}


def test_a_key_that_a_replaced_section_lacks_is_not_sought_where_it_was():
    assert problem("table={title: T}") == "--set: table.reference: the key is missing"


def test_another_backbone_leaves_nothing_of_the_one_below():
    study = load_study("dense_vs_oneway", None, ["trial.backbone={name: wrn, depth: 10, width: 1}"])
    assert study.trial.backbone.model_dump(exclude_unset=True) == {"name": "wrn", "depth": 10, "width": 1}
    deeper = load_study("dense_vs_oneway", None, ["trial.backbone.depth=14"]).trial.backbone
    assert (deeper.depth, deeper.base_channels) == (14, 8)
    wrong = problem("trial.backbone={name: wrn, depth: 10, widht: 1}")
    known = "depth, dropout, name, uniform_batch_norm, weights, width"
    assert f"trial.backbone.widht: unknown key, did you mean width?; known here: {known}" in wrong
