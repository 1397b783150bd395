"""Whatever breaks a rule is told in our words: key, rule and value. Every constraint of every description is tried."""

import json
import re

import pytest
from pydantic import ValidationError
from pydantic_core._pydantic_core import list_all_errors

from dks_study.spec.files import load_study
from dks_study.spec.study import StudySpec
from dks_study.spec.wording import RULES, study_problem
from dks_study.spec.yamldoc import Document, SpecError

SCHEMA = StudySpec.model_json_schema(by_alias=True)
# Sections whose keys are free: one that fits.
FREE = {
    "arms": "dense",
    "axes": "optimiser.momentum",
    "points": "optimiser.lr",
    "when": "optimiser.nesterov",
    "against": "dense",
    "options": "depth",
}
TAP = "stage1"  # of all others
# What a section needs besides the key that is wrong; it stands for itself where nothing is named here.
NEEDED = {
    "ResNetSpec": {"name": "resnet", "depth": 8},
    "PreActResNetSpec": {"name": "preact_resnet", "depth": 8},
    "WRNSpec": {"name": "wrn", "depth": 10, "width": 1},
    "DenseNetSpec": {"name": "densenet", "depth": 10},
    "MobileNetSpec": {"name": "mobilenet"},
    "VGGSpec": {"name": "vgg_bn"},
    "ExternalSpec": {"name": "timm:resnet10t"},
    "TeacherSpec": {"weights": "x", "backbone": {"name": "resnet", "depth": 8}},
    "PeerSpec": {},
    "AxisSpec": {},
    "TermSpec": {"kind": "dkd", "pairs": ["main>stage1"]},
}
PLAIN = {
    "integer": [("zzz", "must be a whole number"), (1.5, "must be a whole number")],
    "number": [("zzz", "must be a number"), (float("inf"), "must be a finite number")],
    "boolean": [("yes", "must be true or false"), (1, "must be true or false")],
    "string": [(3, "must be text")],
}
LIMITS = {
    "minimum": (-1, "must be at least {}"),
    "exclusiveMinimum": (0, "must be above {}"),
    "maximum": (1, "must be at most {}"),
    "exclusiveMaximum": (0, "must be below {}"),
}


def violations(node, path=()):
    """Yield (path, wrong value, what must be said) for every constraint of a schema.

    A path is made of pairs: a key or the index 0, and what the section there must hold (None: what it holds).
    """
    kinds = [each for each in node.get("anyOf", node.get("oneOf", [node])) if each.get("type") != "null"]
    if len(kinds) > 1 and "$ref" not in kinds[0]:
        yield path, {"a": 1}, "must be text, a number, true or false"
        return
    for kind in kinds:  # several: the families of backbones
        name = kind.get("$ref", "").rpartition("/")[2]
        kind = SCHEMA["$defs"][name] if name else kind
        if path and name:
            path = (*path[:-1], (path[-1][0], NEEDED.get(name)))
        yield from section_violations(kind, path) if "properties" in kind else plain_violations(kind, path)


def section_violations(kind, path):
    if path:
        yield path, 3, "must be a section of keys"
    yield (*path, ("zzz", None)), 1, "unknown key"
    for key, inner in kind["properties"].items():
        yield from violations(inner, (*path, (key, None)))
    for key in kind.get("required", ()):
        yield (*path, (key, None)), None, "the key is missing"


def plain_violations(kind, path):
    if kind.get("type") == "object":
        yield path, 3, "must be a section of keys"
        inner = kind.get("additionalProperties")
        if "patternProperties" in kind:
            yield (*path, ("No Name", None)), {}, "must be a name of at most 40"
            (inner,) = kind["patternProperties"].values()
        if inner is not True:
            yield from violations(inner, (*path, (FREE.get(path[-1][0], TAP), None)))
        if "minProperties" in kind:
            yield path, {}, "must hold at least 1 value"
    elif kind.get("type") == "array":
        yield path, 3, "must be a list"
        if least := kind.get("minItems"):
            exactly = "prefixItems" in kind
            yield path, [] if exactly else [1] * (least - 1), f"must hold {'' if exactly else 'at least '}{least} value"
        if most := kind.get("maxItems"):
            yield path, [{}] * (most + 1), f"must hold at most {most} values"
        for item in kind.get("prefixItems", [kind.get("items")])[:1]:
            yield from violations(item, (*path, (0, None)))
    elif "enum" in kind or "const" in kind:
        yield path, "zzz", f"must be {kind['enum'][0]}" if "enum" in kind else "must be one of "
    else:
        yield from ((path, value, rule) for value, rule in value_violations(kind))


def value_violations(kind):
    yield from PLAIN.get(kind.get("type"), ())
    if kind.get("minLength"):
        yield "", "must not be empty"
    if kind.get("pattern"):
        yield "a b:", "must be "
    for limit in LIMITS.keys() & kind.keys():
        step, rule = LIMITS[limit]
        yield kind[limit] + step, rule.format(f"{kind[limit]:.15g}")


def put(at, path, value):
    """Return `at` with `value` at `path`; None: without the key there."""
    if not path:
        return value
    (key, needed), *rest = path
    if key == 0:
        return [put(needed or {}, rest, value)]
    if value is None and not rest:
        return {other: inner for other, inner in at.items() if other != key}
    return {**at, key: put(at.get(key, {}) if needed is None else needed, rest, value)}


def as_told(path, value, rule):
    """Return the rule that is told: whatever is wrong with the kind of a backbone, it is one of some."""
    return "must be " if [key for key, _ in path[-2:]] == ["backbone", "name"] and value is not None else rule


ALL = [(path, value, as_told(path, value, rule)) for path, value, rule in violations(SCHEMA)]
WHOLE = load_study("dense_vs_oneway").model_dump(mode="json", by_alias=True, exclude_unset=True)


@pytest.fixture(scope="module")
def phrases():
    """What the library's own sentences are made of."""
    templates = [error["message_template_python"] for error in list_all_errors()]
    parts = {part.strip(" ,'") for template in templates for part in re.split(r"\{[^}]*\}", template)}
    return {part for part in parts if len(part) > 9} | {
        "after validation",
        "Input",
        "Tuple",
        "Dictionary",
        "JSON",
        "Value er",
    }


def test_every_broken_rule_is_told_in_our_words(phrases):
    for path, value, rule in ALL:
        values = put(WHOLE, path, value)
        with pytest.raises(ValidationError) as caught:
            StudySpec.model_validate_json(json.dumps(values))
        said = study_problem(caught.value.errors(), Document(values, {}), "FILE")
        keys = [str(key) for key, _ in path]
        assert said.startswith("FILE: "), said
        assert rule in said, (keys, value, said)
        assert keys[-1 if keys[-1] not in "01" else -2] in said, said
        assert ", got " in said or rule in ("unknown key", "the key is missing"), said
        assert not [phrase for phrase in phrases if phrase in said], said
        assert "cannot be used here" not in said, said


def test_every_kind_of_constraint_was_among_them():
    assert len(ALL) > 300
    rules = {re.sub(r" [\d.]+$", "", rule) for *_, rule in ALL}
    assert rules >= {re.sub(r" \{\}", "", rule) for _, rule in LIMITS.values()}
    assert rules >= {rule for pairs in PLAIN.values() for _, rule in pairs} | {"must not be empty", "must be a list"}


def test_every_rule_belongs_to_a_type_of_error_that_there_is():
    assert RULES.keys() <= {error["type"] for error in list_all_errors()}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("loss.temperature: 0", "arms.dense.loss.temperature: must be above 0, got 0"),
        ("optimiser.betas: [0.5]", "arms.dense.optimiser.betas: must hold 2 values, got [0.5]"),
        ("branches.blocks: {stage1: []}", "arms.dense.branches.blocks.stage1: must hold at least 1 value, got []"),
        ("backbone.options: {a: [1]}", "arms.dense.backbone.options: unknown key"),
    ],
)
def test_so_it_is_in_an_arm(setting, message):
    with pytest.raises(SpecError) as caught:
        load_study("dense_vs_oneway", None, [f"arms.dense={{{setting}}}"])
    assert str(caught.value).startswith(f"--set: {message}")
