"""JSON Schemas for editors: as fresh as the specs, every shipped file fits, wrong ones are refused."""

import json

import pytest
import yaml
from jsonschema import Draft7Validator

from dks_study import cli
from dks_study.spec.files import load_study
from dks_study.spec.keys import all_specs, prose_of, words_of
from dks_study.spec.schema import schemas, text_of
from dks_study.spec.shipped import SPACES
from dks_study.spec.study import StudySpec
from dks_study.spec.yamldoc import SpecError, load_document

KINDS = {"space": SPACES, "profile": SPACES / "profiles", "recipe": SPACES / "recipes"}
SHIPPED = [(kind, path) for kind, folder in KINDS.items() for path in sorted(folder.glob("*.yaml"))]
MODELINE = "# yaml-language-server: $schema="
SPACE = "question: Q?\nprofile: laptop\ntable: {title: T, reference: a}\narms: {a: {}}\n"


@pytest.fixture(scope="module")
def validators():
    found = schemas()
    for schema in found.values():
        Draft7Validator.check_schema(schema)
    return {kind: Draft7Validator(schema) for kind, schema in found.items()}


def errors(validator, text):
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(yaml.safe_load(text))]


def test_the_files_are_those_that_the_command_writes(tmp_path, capsys):
    assert cli.main(["schema", str(tmp_path / "new")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(KINDS)
    for kind in KINDS:
        written = (tmp_path / "new" / f"{kind}.json").read_text(encoding="utf-8")
        shipped = (SPACES / "schemas" / f"{kind}.json").read_text(encoding="utf-8")
        assert written == shipped, "dks-study schema search_spaces/schemas"


def test_the_command_refuses_what_it_does_not_know_or_cannot_write(tmp_path, capsys):
    assert cli.main(["schema", "a", "b"]) == 2
    assert "unrecognized arguments: b" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert cli.main(["schema", str(tmp_path / "file")]) == 2
    rule = "FOLDER: must be one that can be written (File exists)"
    assert capsys.readouterr().err == f"dks-study: {rule}, got {tmp_path / 'file'}\n"


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda each: getattr(each, "stem", each))
def test_every_shipped_file_names_its_schema_and_fits_it(validators, kind, path):
    lines = path.read_text(encoding="utf-8").splitlines()
    (named,) = [line.removeprefix(MODELINE) for line in lines if line.startswith(MODELINE)]
    assert (path.parent / named).resolve() == SPACES / "schemas" / f"{kind}.json"
    values = load_document(path).values
    assert [error.message for error in validators[kind].iter_errors(values)] == []


@pytest.mark.parametrize(
    ("kind", "text", "where"),
    [
        ("space", "question: Q?\nprofile: laptop\n", "'arms' is a required property"),
        ("space", SPACE + "serach: {}", "'serach' was unexpected"),
        ("space", SPACE + "search: {trials: -1}", "$.search.trials: -1 is less than the minimum"),
        ("space", SPACE + "search: {trials: 2.5}", "$.search.trials"),
        ("space", SPACE + "search: {sampler: tep}", "$.search.sampler: 'tep' is not one of"),
        ("space", SPACE + "search: {axes: {optimiser.rate: {float: [0.1, 1.0]}}}", "'optimiser.rate' does not match"),
        ("space", SPACE + "search: {axes: {optimiser.lr: {float: [0.1]}}}", "[0.1] is too short"),
        ("space", SPACE + "search: {axes: {optimiser.lr: {flaot: [0.1, 1.0]}}}", "'flaot' was unexpected"),
        ("space", SPACE + "search: {objectives: [val/top1/mian]}", "'val/top1/mian' is not one of"),
        ("space", SPACE.replace("{}", "{loss.paring: dense}"), "'loss.paring' does not match any"),
        ("space", SPACE.replace("{}", "{loss.pairing: densest}"), "$.arms.a['loss.pairing']"),
        ("space", SPACE.replace("{}", "{loss.pairing: [main-stage1]}"), "$.arms.a['loss.pairing']"),
        ("space", SPACE.replace("{}", "{loss.temperature: warm}"), "'warm' is not of type 'number'"),
        ("space", SPACE.replace("{}", "{branches.recipe: papper}"), "'papper' is not one of"),
        ("space", SPACE.replace("{}", "{epochs: 3}"), "$.arms.a.epochs: 3 is not of type 'object'"),
        ("space", SPACE.replace("{}", "{epochs: {match: b, by: hours}}"), "$.arms.a.epochs.by"),
        ("space", SPACE.replace("{}", "{resources.workers: 1}"), "'resources.workers' does not match any"),
        ("space", SPACE.replace("{}", "{data.split_seed: 3}"), "'data.split_seed' does not match any"),
        ("space", SPACE.replace("a:", "A B:"), "'A B' does not match"),
        ("space", SPACE.replace("{}", "{backbone: {name: renset}}"), "$.arms.a.backbone"),
        ("profile", "trial: {backbone: {name: resnet, depht: 8}}", "$.trial.backbone"),
        ("profile", "trial: {data: {name: difits}}", "$.trial.data.name"),
        ("profile", "trial: {optimiser: {lr: 0}}", "$.trial.optimiser.lr: 0 is less than or equal to the minimum"),
        ("profile", "trial: {optimiser: {nesterov: 'yes'}}", "$.trial.optimiser.nesterov"),
        ("profile", "profile: laptop", "'profile' was unexpected"),
        ("recipe", "about: x\nsearch: {}", "'search' was unexpected"),
    ],
)
def test_wrong_files_are_refused(validators, kind, text, where):
    assert any(where in error for error in errors(validators[kind], text)), errors(validators[kind], text)


@pytest.mark.parametrize(
    "arm",
    [
        "{branches.taps: stage1+stage2, branches.width_by_tap.stage1: 2.0}",
        "{loss.pairing: [top_down, 'stage1>main']}",
        "{loss.pairing: {'main>stage1': 0.5}, loss.branch_weight_by_tap: {stage1: 0.5}}",
        "{backbone.depth: 14, teacher: null, peers: [{}], loss.pairing: [dense, cross]}",
        "{backbone: {name: 'torchvision:resnet18', options: {groups: 1}}, branches.taps: [stage2, stage3]}",
    ],
)
def test_what_a_study_takes_fits(validators, tmp_path, arm):
    text = SPACE.replace("{}", arm)
    (tmp_path / "mine.yaml").write_text(text)
    load_study(str(tmp_path / "mine.yaml"))
    assert errors(validators["space"], text) == []


def test_what_only_a_study_refuses_is_left_to_it(validators, tmp_path):
    text = SPACE.replace("reference: a", "reference: b")
    (tmp_path / "mine.yaml").write_text(text)
    assert errors(validators["space"], text) == []
    with pytest.raises(SpecError, match=r"table\.reference: must be an arm"):
        load_study(str(tmp_path / "mine.yaml"))


def test_dotted_keys_are_completed_with_their_words():
    arm = schemas()["space"]["$defs"]["Arm"]["properties"]
    axes = schemas()["space"]["$defs"]["SearchSpec"]["properties"]["axes"]["properties"]
    assert {"loss.pairing", "branches.taps", "backbone.depth", "data.label_noise", "teacher.weights"} <= set(arm)
    assert {"epochs", "optimiser.lr", "loss.temperature", "branches.recipe"} <= set(axes)
    assert not {"data", "data.name", "resources", "compute.precision"} & set(arm)
    assert set(arm["epochs"]["properties"]) == {"match", "by", "measured", "seconds"}, (
        "no length of its own but that of another's cost"
    )
    assert not {"loss", "optimiser", "backbone", "peers"} & set(axes)
    assert arm["optimiser.lr"]["description"] == axes["optimiser.lr"]["description"]
    assert "learning rate" in arm["optimiser.lr"]["description"]


@pytest.mark.parametrize("spec", all_specs(StudySpec), ids=lambda spec: spec.__name__)
def test_every_key_of_every_spec_has_words_in_its_docstring(spec):
    assert prose_of(spec)
    assert [key for key, words in words_of(spec).items() if not words] == []


def test_schemas_are_json():
    for schema in schemas().values():
        assert json.loads(text_of(schema)) == schema
