"""JSON Schemas of space, profile and recipe files: what editors complete from, and underline.

    # yaml-language-server: $schema=schemas/space.json

as a line of a file is all that an editor needs. A file is laid over others (recipe < profile < space), so any
key may be left out here; what only the whole study can be asked is checked by `dks-study --dry-run`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dks_study.spec.base import NAME
from dks_study.spec.data import NAMES
from dks_study.spec.keys import all_specs, words_of
from dks_study.spec.matching import MatchSpec
from dks_study.spec.objectives import MAXIMISED
from dks_study.spec.options import OptionParser, some_text
from dks_study.spec.pairing import SCHEMES
from dks_study.spec.study import COMMON, StudySpec
from dks_study.spec.yamldoc import SpecError

Schema = dict[str, Any]
_DRAFT = "http://json-schema.org/draft-07/schema#"  # what all editors know
_FILE_KEYS: Mapping[str, Schema] = {
    "about": {"type": "string", "description": "What it is, in a line, for `dks-study --list`."},
    "recipe": {
        "type": "string",
        "description": "A recipe, by name or path: its values lie under those of this file.",
    },
}
_KEY_OF_ANY = r"[^.]+"
_PAIR: Schema = {"type": "string", "pattern": "^[^>]+>[^>]+$"}
_PAIRING: list[Schema] = [
    {"enum": list(SCHEMES)},
    {"type": "array", "items": {"anyOf": [{"enum": list(SCHEMES)}, _PAIR]}},
    {"type": "object", "propertyNames": _PAIR, "additionalProperties": {"type": "number", "minimum": 0}},
]
# What code checks, and not the type of a key: description and key -> what stands in place of its rules.
_CHECKED_BY_CODE: Mapping[tuple[str, str], Schema] = {
    ("LossSpec", "pairing"): {"anyOf": _PAIRING},
    ("BranchSpec", "taps"): {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]},
    ("DataSpec", "name"): {"anyOf": [{"enum": list(NAMES)}, {"type": "string", "pattern": ":"}]},
    ("SearchSpec", "objectives"): {"type": "array", "items": {"enum": list(MAXIMISED)}, "minItems": 1},
}


def schemas() -> dict[str, Schema]:
    """Return the schema of each kind of file: space, profile and recipe."""
    whole = StudySpec.model_json_schema()
    defs = {name: _plain(each) for name, each in whole["$defs"].items()}
    for (name, key), rules in _CHECKED_BY_CODE.items():
        kept = {word: value for word, value in defs[name]["properties"][key].items() if word == "default"}
        defs[name]["properties"][key] = kept | rules
    for spec in all_specs(StudySpec):
        _describe(defs.setdefault(spec.__name__, _plain(whole)), words_of(spec))
    study = defs.pop("StudySpec")
    study.pop("$defs", None)
    defs["Arm"] = _arm(defs)
    defs["SearchSpec"]["properties"]["axes"] |= _axes(defs["Arm"])
    keys = study["properties"] | _FILE_KEYS
    keys["arms"] |= {"propertyNames": {"pattern": NAME}, "additionalProperties": {"$ref": "#/$defs/Arm"}}
    keys["arms"].pop("patternProperties", None)
    scale = {key: rules for key, rules in keys.items() if key != "profile"}
    return {
        "space": _file("The question: arms, search, table", keys, defs) | {"required": ["question", "arms", "table"]},
        "profile": _file("The scale: data, network, recipe, seeds", scale, defs),
        "recipe": _file("How a network is trained", {key: keys[key] for key in ("about", "trial")}, defs),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the schemas into a folder: `dks-study schema [FOLDER]`.

    Raises:
        SpecError: if the arguments are wrong, or the folder cannot be written.
    """
    parser = OptionParser(prog="dks-study schema", description="Write space.json, profile.json and recipe.json.")
    text = some_text("a folder")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default="schemas", type=text, help="where (schemas)")
    folder = Path(parser.parse_args(arguments).folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, schema in schemas().items():
            (folder / f"{kind}.json").write_text(text_of(schema), encoding="utf-8")
            print(folder / f"{kind}.json")
    except OSError as error:
        raise SpecError(f"FOLDER: must be one that can be written ({error.strerror}), got {folder}") from error
    return 0


def text_of(schema: Schema) -> str:
    """Return a schema as its file has it."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _file(title: str, keys: Schema, defs: Mapping[str, Schema]) -> Schema:
    body = {"type": "object", "properties": keys, "additionalProperties": False}
    reached = _reached(body, defs)
    return {"$schema": _DRAFT, "title": title, **body, "$defs": {name: defs[name] for name in sorted(reached)}}


def _reached(node: object, defs: Mapping[str, Schema]) -> set[str]:
    reached: set[str] = set()
    left = set(_named(node))
    while left:
        reached |= left
        left = {inner for name in left for inner in _named(defs[name])} - reached
    return reached


def _named(node: object) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        for each in node.values():
            yield from _named(each)
    elif isinstance(node, list):
        for each in node:
            yield from _named(each)


def _plain(schema: Schema) -> Schema:
    """Return a schema as files need it: no key required, alternatives that may overlap, in words that editors know."""
    plain: Schema = {key: _plain_value(value) for key, value in schema.items() if not _of_no_use(key, value)}
    if "prefixItems" in plain:  # all of ours are pairs of one kind
        plain["items"] = plain.pop("prefixItems")[0]
    if "oneOf" in plain:  # a backbone without its name may be of several families
        found = plain.pop("oneOf")
        plain["anyOf"] = [each for i, each in enumerate(found) if each not in found[:i]]
    choices = plain.get("anyOf", [])
    if len(choices) == 2 and choices[1] == {"type": "null"} and "type" in choices[0]:
        del plain["anyOf"]  # editors say of a plain rule what is wrong, of alternatives only that none fits
        plain |= choices[0] | {"type": [choices[0]["type"], "null"]}
    return plain


def _plain_value(value: object) -> object:
    if isinstance(value, list):
        return [_plain_value(each) for each in value]
    return _plain(value) if isinstance(value, dict) else value


def _of_no_use(key: str, value: object) -> bool:
    """Whether it says what is required, how a key is called in the code, or that a section may be left out."""
    word = key in ("title", "required") and not isinstance(value, dict)  # as a key of ours it has a schema
    return word or key == "discriminator" or (key == "default" and (value is None or isinstance(value, dict)))


def _describe(schema: Schema, words: Mapping[str, str]) -> None:
    for key, text in words.items():
        if text:
            schema["properties"][key]["description"] = text


def _arm(defs: Mapping[str, Schema]) -> Schema:
    """Return the schema of an arm: dotted keys of `trial`, but for those that are the same in the whole study."""
    known: dict[str, Schema] = {}
    patterns: dict[str, Schema] = {}
    for key, schema in _dotted({"$ref": "#/$defs/CommonRunSpec"}, defs, ""):
        if any(key == c or key.startswith(f"{c}.") or c.startswith(f"{key}.") for c in COMMON):
            continue
        free = _KEY_OF_ANY in key
        into, name = (patterns, _pattern(key)) if free else (known, key)
        into[name] = _either(into[name], schema) if name in into else schema
    known["epochs"] = _match()
    return {
        "type": "object",
        "description": "What this arm changes: dotted keys of `trial`.",
        "properties": known,
        "patternProperties": patterns,
        "additionalProperties": False,
    }


def _match() -> Schema:
    """Return the schema of the one length that an arm may have of its own: as long as another one costs."""
    schema = _plain(MatchSpec.model_json_schema())
    _describe(schema, words_of(MatchSpec))
    del schema["properties"]["macs"]
    text = "Train this arm as long as another one costs: {match: ARM, by: macs}, or takes: {match: ARM, by: time,"
    text += " measured: FOLDER}."
    return schema | {"description": text, "required": ["match", "by"]}


def _pattern(key: str) -> str:
    return f"^{_KEY_OF_ANY.join(map(re.escape, key.split(_KEY_OF_ANY)))}$"


def _dotted(schema: Schema, defs: Mapping[str, Schema], prefix: str) -> Iterator[tuple[str, Schema]]:
    """Yield every dotted key inside a section, and what it may hold; sections too, and any key of a free one."""
    for each in schema.get("anyOf", [schema]):
        inner = defs[each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        for value in (inner.get("additionalProperties"), *inner.get("patternProperties", {}).values()):
            if isinstance(value, dict):
                yield f"{prefix}{_KEY_OF_ANY}", value
                yield from _dotted(value, defs, f"{prefix}{_KEY_OF_ANY}.")
        for key, value in inner.get("properties", {}).items():
            yield f"{prefix}{key}", value
            yield from _dotted(value, defs, f"{prefix}{key}.")


def _either(one: Schema, other: Schema) -> Schema:
    """Return what holds for one or the other: `backbone.depth` has other rules in every family."""
    choices = one.get("anyOf", [one])
    return {"anyOf": choices if other in choices else [*choices, other]}


def _axes(arm: Schema) -> Schema:
    """Return the schema of `search.axes`: keys of an arm that hold one value, and the length of training."""
    axis = {"$ref": "#/$defs/AxisSpec"}

    def axis_of(value: Schema) -> Schema:
        return axis | ({"description": value["description"]} if "description" in value else {})

    known = {key: axis_of(value) for key, value in arm["properties"].items() if not _section(value)}
    length = {"epochs": axis | {"description": "The length of training, at most `trial.epochs`."}}
    patterns = {key: axis_of(value) for key, value in arm["patternProperties"].items() if not _section(value)}
    return {"properties": length | known, "patternProperties": patterns, "additionalProperties": False}


def _section(value: Schema) -> bool:
    """Whether a key holds nothing but keys of its own, or a list of such."""
    kinds = [each for each in value.get("anyOf", [value]) if each.get("type") != "null"]
    return all("$ref" in each or "additionalProperties" in each or "$ref" in each.get("items", {}) for each in kinds)
