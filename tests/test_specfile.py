"""Files and overrides become a study, or one clear line that names file, key, rule and value."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dks_study.specfile import SPACES, load_study
from dks_study.study_spec import arm_run
from dks_study.yamldoc import SpecError

SPACE = """question: Does it work?
profile: laptop
trial:
  branches: {taps: [stage1]}
arms:
  baseline: {branches.taps: [], loss.pairing: none}
  dense: {loss.pairing: dense}
search:
  axes:
    optimiser.lr: {float: [0.01, 0.3], log: true}
table: {title: T, reference: baseline}
"""
SHIPPED = sorted(path.stem for path in SPACES.glob("*.yaml"))
PROFILES = sorted(path.stem for path in (SPACES / "profiles").glob("*.yaml"))


def problem(*overrides, space="dense_vs_oneway", profile=None):
    with pytest.raises(SpecError) as caught:
        load_study(str(space), profile, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def problem_in(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return problem(space=path).replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("arms:", "armz:", "FILE:5: armz: unknown key, did you mean arms?; known here: arms, max_failures"),
        ("stage1]", "stage9]", "FILE:4: trial.branches.taps: must be taps of resnet (stage1, stage2), got"),
        ("dense: {", "dense: {optimiser.lr: 1e-4, ", 'arms.dense.optimiser.lr: must be a valid number, got "1e'),
        ("pairing: none", "pairing: on", "FILE:6: arms.baseline.loss.pairing: "),
        ("pairing: dense", "pairing: densee", "one of none, top_down, bottom_up, dense, adjacent, from_main, to_main"),
        ("pairing: dense", "pairing: [main>main]", "two different classifiers, got 'main>main'"),
        ("pairing: dense", "pairing: [main>stage2]", "this network (stage1, main), got 'stage2' in 'main>stage2'"),
        ("loss.pairing: dense", "loss.pairin: dense", "arms.dense.loss.pairin: unknown key, did you mean pairing?"),
        ("loss.pairing: dense", "epochs: 3", "arms.dense.epochs: must be the same in the whole study (trial.epochs)"),
        ("loss.pairing: dense", "epochs.x: 3", "arms.dense.epochs.x: must be the same in the whole study"),
        ("loss.pairing: dense", "branches.recipe.x: 3", "FILE:7: arms.dense.branches.recipe"),
        ("[0.01, 0.3]", "[0.3, 0.01]", "FILE:10: search.axes.optimiser.lr: low must be below high, got [0.3, 0.01]"),
        ("[0.01, 0.3]", "[0.01, 0.02]", "must contain baseline's own value 0.1: search trial 0 is the arm as written"),
        ("optimiser.lr: {f", "optimiser.lrr: {f", "search.axes.optimiser.lrr: unknown key, did you mean lr?"),
        ("log: true", "log: true, int: [1, 2]", "exactly one of float: [low, high], int: [low, high], choice: [...]"),
        ("[0.01, 0.3]", "[-1, 0.3]", "log: true needs a range whose low end is above 0"),
        ("reference: baseline", "reference: base", "FILE:11: table.reference: must be an arm (baseline, dense), got"),
        ("question: Does it work?", "question: *x", "FILE: YAML aliases (*name) are not used here: write"),
        ("question: Does it work?", "question: [", "not valid YAML"),
        ("question: Does it work?", "question: 3", "FILE:1: question: must be a valid string, got 3"),
        ("question: Does it work?", "question: !!python/object:os.system x", "FILE:1: not a plain value"),
        ("question: Does it work?", "profile: laptop", "FILE:2: profile: the key is written twice"),
        ("profile: laptop", "profile: laptpo", "--profile laptpo: no such profile, did you mean laptop?; there are: "),
        ("table: {title: T, reference: baseline}", "", "table: the key is missing"),
    ],
)  # fmt: skip
def test_a_wrong_file_gets_one_clear_line(tmp_path, old, new, message):
    assert old in SPACE
    assert message in problem_in(tmp_path, SPACE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trial.epochs=0", "--set: trial.epochs: must be greater than or equal to 1, got 0"),
        ("trial.epochs=1.5", "--set: trial.epochs: must be a valid integer, got 1.5"),
        ("trial.epochs=yes", "got true (YAML reads yes as true: put it in quotes if you mean the word)"),
        ("trial.optimiser.lr=1e-4", "(YAML reads 1e-4 as text: a number in exponent form needs a point and a sign"),
        ("trial.optimiser.lr=.nan", "--set: trial.optimiser.lr: must be a finite number"),
        ("trial.optimizer.lr=0.1", "--set: trial.optimizer: unknown key, did you mean optimiser?"),
        ("trial.backbone.depth=9", "a CIFAR ResNet has depth 6n+2 (8, 14, 20, 32, 44, 56, 110, ...), got 9"),
        ("trial.backbone.name=resnext", "--set: trial.backbone.name: must be one of resnet, wrn, got "),
        ("trial.backbone.depht=8", "--set: trial.backbone.depht: unknown key, did you mean depth?"),
        ("trial.data.name=cifar10", "trial.data.root: must name the folder with the files of cifar10, got null"),
        ("trial.data.label_noise=1", "--set: trial.data.label_noise: must be less than 1, got 1"),
        ("trial.resources.gpus_per_worker=2", "gpus_per_worker: must be at most 1 (use more workers), got 2"),
        ("search.seed=3", "--set: search.seed: must not be one of report_seeds, got 3"),
        ("report_seeds=[1, 1]", "--set: report_seeds: each seed is listed once"),
        ("report_seeds=[-1]", "report_seeds.0: must be greater than or equal to 0, got -1"),
        ("search.axes.optimiser.lr.arms=[foo]", "search.axes.optimiser.lr.arms: must be arms (baseline, ds, "),
        ("arms.dense.branches.taps=[stage1, stage1]", "each tap carries one branch and is listed once"),
        ("arms=3", "--set: arms: must be an object, got 3"),
        ("nonsense", "--set takes dotted.key=value, got 'nonsense'"),
        ("trial.epochs=[", "--set: trial.epochs: not valid YAML"),
    ],
)
def test_a_wrong_override_gets_one_clear_line(override, message):
    assert message in problem(override)


def test_what_cannot_be_read_says_so(tmp_path):
    assert "no such space, did you mean dense_vs_oneway?" in problem(space="dense_vs_onway")
    assert problem_in(tmp_path, "- a\n- b\n") == "FILE: the top level must be `key: value` lines"
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in problem(space=tmp_path / "bytes.yaml")
    assert "profile: must name a file in search_spaces/profiles/, got 3" in problem_in(tmp_path, "profile: 3")


def test_space_wins_over_profile_and_set_over_both(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SPACE.replace("trial:\n", "trial:\n  epochs: 7\n"))
    assert load_study(str(path)).trial.epochs == 7
    assert load_study(str(path)).trial.data.label_noise == 0.4, "from the profile"
    assert load_study(str(path), None, ["trial.epochs=8", "trial.epochs=9"]).trial.epochs == 9


@pytest.mark.parametrize(
    ("override", "value_of"),
    [
        ("arms.dense.loss.synergy_weight=0.5", lambda s: arm_run(s, "dense", {}).loss.synergy_weight),
        ("search.axes.optimiser.lr.float=[0.05, 0.5]", lambda s: s.search.axes["optimiser.lr"].float_range[0] * 10),
        ("trial.loss.branch_weight_by_tap={stage1: 0.5}", lambda s: s.trial.loss.branch_weight_by_tap["stage1"]),
    ],
)
def test_set_reaches_every_key(override, value_of):
    sets = [override] if "by_tap" not in override else [override, "arms.baseline.loss.branch_weight_by_tap={}"]
    assert value_of(load_study("dense_vs_oneway", None, sets)) == 0.5


def test_the_hash_stands_for_the_content_alone(tmp_path):
    first, second = tmp_path / "a" / "mine.yaml", tmp_path / "b" / "mine.yaml"
    for path, text in ((first, SPACE), (second, "# a comment\n" + SPACE)):
        path.parent.mkdir()
        path.write_text(text)
    assert load_study(str(first)).content_hash() == load_study(str(second)).content_hash()
    changed = load_study(str(first), None, ["trial.optimiser.momentum=0.8"])
    assert changed.content_hash() != load_study(str(first)).content_hash()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("space", SHIPPED)
def test_every_shipped_space_loads_with_every_profile(space, profile):
    study = load_study(space, profile)
    for arm in study.arms:
        for key, axis in study.axes_of(arm).items():
            assert all(arm_run(study, arm, {key: end}) for end in axis.ends)
    assert len(study.report_seeds) >= 6


KEYS = [
    "trial.epochs",
    "trial.backbone",
    "arms",
    "arms.ds.loss.pairing",
    "report_seeds",
    "table",
    "search",
    "x.y",
    "trial.loss.pairing",
    "search.axes.optimiser.lr",
    "trial.data.root",
    "max_failures",
    "trial.branches.taps",
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KEYS), st.text(max_size=12))
def test_no_value_gets_more_than_one_line(key, text):
    said = ""
    try:
        load_study("dense_vs_oneway", None, [f"{key}={text}"])
    except SpecError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
