"""Files and overrides become a study, or one clear line that names file, key, rule and value."""

import pytest

from dks_study.spec.files import load_study
from dks_study.spec.shipped import SPACES
from dks_study.spec.yamldoc import SpecError, load_document

SPACE = """question: Does it work?
profile: laptop
trial:
  branches: {taps: [stage1]}
arms:
  baseline: {branches.taps: [], loss.pairing: none}
  dense: {loss.pairing: dense}
search:
  axes:
    optimiser.lr: {float: [0.01, 0.3], log: true, role: scientific}
table: {title: T, reference: baseline}
"""


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
        ("arms:", "armz:", "FILE:5: armz: unknown key, did you mean arms?; known here: arms, keep, keep_p"),
        ("stage1]", "stage9]", "FILE:4: trial.branches.taps: must be taps of resnet (stage1, stage2), got"),
        ("dense: {", "dense: {optimiser.lr: 1:30, ", 'FILE:7: arms.dense.optimiser.lr: must be a number, got "1:30"'),
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
        ("question: Does it work?", "question: *x", "FILE:1: not valid YAML: aliases (*name) are not used here: write"),
        ("question: Does it work?", "question: [", "not valid YAML"),
        ("question: Does it work?", "question: 3", "FILE:1: question: must be text, got 3"),
        ("question: Does it work?", "question: !!python/object:os.system x", "FILE:1: not a plain value"),
        ("question: Does it work?", "profile: laptop", "FILE:2: profile: the key is written twice"),
        ("profile: laptop", "profile: laptpo", "--profile laptpo: no such profile, did you mean laptop?; there are: "),
        ("table: {title: T, reference: baseline}", "", "table: the key is missing"),
        ("pairing: none", "pairing: off", 'or a list of \'teacher>student\' pairs, got "off"'),
        ("[0.01, 0.3]", "[1_0, 0.3]", 'FILE:10: search.axes.optimiser.lr.float.0: must be a number, got "1_0"'),
        ("log: true", "log: yes please", 'FILE:10: search.axes.optimiser.lr.log: must be true or false, got "yes pl'),
        ("log: true", "arms: [densee]", "axes.optimiser.lr.arms: must be arms (baseline, dense), got 'densee'"),
        ("[0.01, 0.3]", "[0.01, -3]", "FILE:10: search.axes.optimiser.lr: low must be below high, got [0.01, -3.0]"),
        ("{float: [0.01, 0.3]", "{choice: [0.1]", "axes.optimiser.lr.choice: must hold at least 2 values, got [0.1]"),
        ("optimiser.lr: {f", "epochs: {f", "FILE:10: search.axes.epochs: an axis has exactly one of float: "),
        ("optimiser.lr: {f", "data.split_seed: {f", "search.axes.data.split_seed: must be the same in the whole study"),
        ("loss.pairing: dense", "data.split_seed: 1", "FILE:7: arms.dense.data.split_seed: must be the same in the"),
        ("loss.pairing: dense", "data.evaluation: squash", "arms.dense.data.evaluation: must be the same in the whole"),
        ("loss.pairing: dense", "data: {name: digits, split_seed: 1}", "FILE:7: arms.dense.data"),
        ("loss.pairing: dense", "resources.workers: 2", "arms.dense.resources.workers: must be the same in the whole"),
        ("dense: {loss", "Dense: {loss", 'FILE:7: arms.Dense: must be a name of at most 40 of a-z, 0-9 and _ that'),
        ("dense: {loss.pairing: dense}", "dense: 3", "FILE:7: arms.dense: must be a section of keys, got 3"),
        ("dense: {loss.pairing: dense}", "baseline: {}", "FILE:7: arms.baseline: the key is written twice"),
        ("{branches.taps: [], l", "{loss.pairing: dense, l", "FILE:6: arms.baseline.loss.pairing: the key is"),
        ("[stage1]}", "[stage1], taps: []}", "FILE:4: trial.branches.taps: the key is written twice"),
        ("question: Does it work?", "? [a]\n: b", "FILE:1: a key must be plain text"),
        ("question: Does it work?", "question: !!binary aGVsbG8=", "FILE:1: "),
        ("question: Does it work?", "question: !!timestamp 2020-01-01", "FILE:1: "),
        ("question: Does it work?", 'question: "\\ud800"', "FILE:1: question: "),
        ("question: Does it work?", 'question: "\\UFFFFFFFF"', "FILE"),
        ("table: {", "table: !!python/object:os.system {", "FILE:11: "),
        ("[stage1]", "!!python/tuple [stage1]", "FILE:4: "),
        ("question:", "!!python/name:os.system question:", "FILE:1: "),
        ("Does it work?", "Does it work?\n---\na: 1", "FILE:2: not valid YAML"),
        ("trial:", "trial:\n\tepochs: 3", "not valid YAML"),
        ("trial:\n  branches: {taps: [stage1]}", "trial:", "FILE:3: trial: must be a section of keys, got null"),
        ("optimiser.lr: {", "loss.branch_weight_by_tap.stage1: {arms: [dense], ", "FILE:10: search.axes.loss."),
        ("profile: laptop", "profile: [laptop]", "profile: must name a file in search_spaces/profiles/, got [\"lap"),
        ("question", '"ques\\ntion"', "FILE:1: "),
    ],
)  # fmt: skip
def test_a_wrong_file_gets_one_clear_line(tmp_path, old, new, message):
    assert old in SPACE
    assert message in problem_in(tmp_path, SPACE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trial.epochs=0", "--set: trial.epochs: must be at least 1, got 0"),
        ("trial.epochs=1.5", "--set: trial.epochs: must be a whole number, got 1.5"),
        ("trial.epochs=yes", '--set: trial.epochs: must be a whole number, got "yes"'),
        ("trial.data.flip=yes", '--set: trial.data.flip: must be true or false, got "yes"'),
        ("trial.optimiser.lr=1:30", '--set: trial.optimiser.lr: must be a number, got "1:30"'),
        ("trial.epochs=1_000", '--set: trial.epochs: must be a whole number, got "1_000"'),
        ("trial.epochs=0x" + "f" * 5000, "--set: trial.epochs: not a plain value: whole numbers have at most 64 bits"),
        ("trial.optimiser.lr=.nan", "--set: trial.optimiser.lr: must be a finite number"),
        ("trial.optimizer.lr=0.1", "--set: trial.optimizer: unknown key, did you mean optimiser?"),
        ("trial.backbone.depth=9", "a CIFAR ResNet has depth 6n+2 (8, 14, 20, 32, 44, 56, 110, ...), got 9"),
        ("trial.backbone.name=resnext", "--set: trial.backbone.name: must be one of resnet, preact_resnet, wrn, "),
        ("trial.backbone.depht=8", "--set: trial.backbone.depht: unknown key, did you mean depth?"),
        ("trial.data.name=cifar10", "trial.data.root: must name the folder with the files of cifar10, got null"),
        ("trial.data.label_noise=1", "--set: trial.data.label_noise: must be below 1, got 1"),
        ("trial.resources.gpus_per_worker=2", "gpus_per_worker: must be at most 1 (use more workers), got 2"),
        ("search.seed=3", "--set: search.seed: must not be one of report_seeds, got 3"),
        ("report_seeds=[1, 1]", "--set: report_seeds: each seed is listed once"),
        ("report_seeds=[-1]", "report_seeds.0: must be at least 0, got -1"),
        (
            "search.axes.loss.synergy_weight={float: [0.5, 2], arms: [foo]}",
            "synergy_weight.arms: must be arms (baseline, ds, ",
        ),
        ("arms.dense.branches.taps=[stage1, stage1]", "each tap carries one branch and is listed once"),
        ("arms=3", "--set: arms: must be a section of keys, got 3"),
        ("table.against={dense: nobody}", "--set: table.against: must pair arms (baseline, ds, "),
        (
            "table.against={ds: dense, dense: ds}",
            "--set: table.against.ds: must be an arm that stands for itself, as dense does not (against.dense), got 'd",
        ),
        ("table.against={baseline: ds}", "--set: table.against.baseline: must be left out: baseline is the reference"),
        ("nonsense", "--set takes dotted.key=value, got 'nonsense'"),
        ("trial.epochs=[", "--set: trial.epochs: not valid YAML"),
        ("trial.branches.recipe=off", ', got "off"'),
        ("arms.dense.loss.pairing=no", ', got "no"'),
        ("trial.data.flip=on a day", '--set: trial.data.flip: must be true or false, got "on a day"'),
        ("trial.optimiser={lr: fast}", '--set: trial.optimiser.lr: must be a number, got "fast"'),
        ("trial.data={name: digits, label_noise: 2}", "--set: trial.data.label_noise: must be below 1, got 2"),
        ("trial.data={label_noise: 0.5}", "--set: trial.data.name: the key is missing"),
        ("arms.dense.loss.synergy_weigth=1", "--set: arms.dense.loss.synergy_weigth: unknown key, did you mean syn"),
        ("arms.dense.loss.pairing=[main>nobody]", "this network (stage1, stage2, main), got 'nobody' in 'main>nobody'"),
        ("arms.dense.loss.pairing=[main-stage1]", "a pair is written 'teacher>student', two different classifiers"),
        ("arms.dense.loss.pairing=[main>stage1, main>stage1]", "each pair is listed once, got 'main>stage1' twice"),
        ("arms.dense.epochs=3", "--set: arms.dense.epochs: must be the same in the whole study (trial.epochs)"),
        (
            "search.axes.optimiser.lr.float=[0.2, 0.3]",
            "search.axes.optimiser.lr: must contain baseline's own value 0.1",
        ),
        ("search.axes.optimiser.momentum.float=[0.5, 1.0]", "search.axes.optimiser.momentum: must be below 1"),
        ("search.trails=3", "--set: search.trails: unknown key, did you mean trials?; known here: as_arms, axes, con"),
        ("report_seeds=[&a [*a]]", "--set: report_seeds: "),
        ('question="\\U00110000"', "--set: question: "),
        ("profile=cifar100_wrn28_10", "--set: profile: "),
        ("name=another", "--set: name: "),
        ("profile.x=5", "--set: profile.x: follows from the files: use --space and --profile, got '5'"),
        ("about=5", "--set: about: follows from the files: use --space and --profile, got '5'"),
        ("recipe.x=1", "--set: recipe.x: a recipe is named as a whole (recipe=NAME), got '1'"),
        ("trial.epochs.x=3", '--set: trial.epochs: must be a whole number, got {"x": 3}'),
        ("about.x=5", "--set: about.x: follows from the files: use --space and --profile, got '5'"),
        ("trial.epo\nchs=3", "trial.epo"),
        ("trial.epo\u2028chs=[", "trial.epo"),
        ("=3", "--set takes dotted.key=value, got '=3'"),
    ],
)
def test_a_wrong_override_gets_one_clear_line(override, message):
    assert message in problem(override)


def test_what_cannot_be_read_says_so(tmp_path):
    assert "no such space, did you mean dense_vs_oneway?" in problem(space="dense_vs_onway")
    assert "--space nowhere/mine.yaml: no such space; there are: " in problem(space="nowhere/mine.yaml")
    assert "no such space" in problem(space=tmp_path), "a folder"
    assert "--profile labtop.yaml: no such profile, did you mean laptop?" in problem(profile="labtop.yaml")
    assert problem_in(tmp_path, "- a\n- b\n") == "FILE: the top level must be `key: value` lines"
    assert problem_in(tmp_path, "") == "FILE: the top level must be `key: value` lines"
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert f"{tmp_path / 'bytes.yaml'}: cannot be read" in problem(space=tmp_path / "bytes.yaml")
    assert "profile: must name a file in search_spaces/profiles/, got 3" in problem_in(tmp_path, "profile: 3")


def test_a_file_of_ones_own_is_never_taken_for_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rule = "a file here and another one that ships have this name: write ./{0}.yaml for the file here, or {0} for the"
    shipped = {path.name: path.read_text() for path in (SPACES / "does_it_help.yaml", SPACES / "profiles/laptop.yaml")}
    for name, text in shipped.items():
        (tmp_path / name).write_text(text)
    assert load_study("does_it_help.yaml", "laptop.yaml") == load_study("does_it_help"), "the same texts"
    for name, text in shipped.items():
        (tmp_path / name).write_text(f"{text}max_failures: 3\n")
    said = problem(space="does_it_help.yaml")
    assert said == f"--space does_it_help.yaml: {rule.format('does_it_help')} space that ships"
    assert problem(profile="laptop.yaml") == f"--profile laptop.yaml: {rule.format('laptop')} profile that ships"
    study = load_study("./does_it_help.yaml", "./laptop.yaml")
    assert (study.max_failures, load_study("does_it_help", "laptop").max_failures) == (3, 1)
    recipe = next((SPACES / "recipes").glob("*.yaml"))
    (tmp_path / recipe.name).write_text("trial: {epochs: 3}")
    said = problem(f"recipe={recipe.name}")
    assert said == f"--set: recipe: {recipe.name}: {rule.format(recipe.stem)} recipe that ships"


@pytest.mark.parametrize("option", ["space", "profile"])
@pytest.mark.parametrize("name", ["two\nlines", "x" * 300, ""])
def test_no_name_of_a_file_is_too_odd_for_a_line(option, name):
    names = {"space": "dense_vs_oneway", "profile": "laptop", option: name}
    said = "File name too long" if len(name) > 255 else f"no such {option}"
    assert said in problem(**names)


@pytest.mark.parametrize("text", ["a: " + "[" * 600 + "]" * 600, "a: &b [*b]", "a: {<<: &b [1]}\nc: *b"])
def test_what_no_description_needs_is_refused(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(SpecError):
        load_document(path)


def test_an_item_of_a_list_is_found_on_its_own_line(tmp_path):
    found = problem_in(tmp_path, SPACE + "report_seeds:\n  - 0\n  - 1\n  - -2\n")
    assert found == "FILE:15: report_seeds.2: must be at least 0, got -2"


def test_a_mistake_in_the_profile_is_found_in_the_profile(tmp_path):
    profile = tmp_path / "small.yaml"
    profile.write_text((SPACES / "profiles" / "laptop.yaml").read_text().replace("epochs: 10 #", "epochs: many #"))
    lines = profile.read_text().splitlines()
    line = 1 + next(number for number, text in enumerate(lines) if text.startswith("  epochs: many"))
    said = problem(profile=str(profile))
    assert said == f'{profile}:{line}: trial.epochs: must be a whole number, got "many"'


def test_a_profile_that_names_another_one_is_refused(tmp_path):
    profile = tmp_path / "small.yaml"
    profile.write_text("profile: laptop\n" + (SPACES / "profiles" / "laptop.yaml").read_text())
    assert problem(profile=str(profile)) == f'{profile}:1: profile: must be left out of a profile, got "laptop"'


def test_a_rule_over_the_whole_study_shows_the_value_that_broke_it():
    assert problem("report_seeds=[1, 1]").endswith("got [1, 1]")


@pytest.mark.parametrize(
    ("file", "name"),
    [("frage ü.yaml", "frage_u"), ("My-Question (2).yaml", "my_question_2"), ("a__b.yaml", "a__b"), ("é.yaml", "e")],
)
def test_a_study_is_named_after_its_file(tmp_path, file, name):
    (tmp_path / file).write_text(SPACE)
    scale = tmp_path / f"scale of {file}"
    scale.write_text((SPACES / "profiles" / "laptop.yaml").read_text())
    study = load_study(str(tmp_path / file), str(scale))
    assert (study.name, study.profile) == (name, f"scale_of_{name}".replace("a__b", "a_b"))


@pytest.mark.parametrize("file", ["問題.yaml", "3 arms.yaml", "_.yaml"])
def test_a_file_whose_name_names_no_study_is_to_be_renamed(tmp_path, file):
    path = tmp_path / file
    path.write_text(SPACE)
    rule = "the file's name must begin with one of a-z, as results are named after it: rename the file"
    assert problem(space=path) == f"{path}: {rule}, or give `name: ...` in it, got {path.stem!r}"
    assert problem(profile=str(path)) == f"{path}: {rule}, got {path.stem!r}"
    path.write_text(f"name: mine\n{SPACE}")
    assert load_study(str(path)).name == "mine"
    path.write_text(f"name: My own\n{SPACE}")
    assert problem(space=path).startswith(f"{path}:1: name: must be a name of at most 40 of a-z, 0-9 and _")
