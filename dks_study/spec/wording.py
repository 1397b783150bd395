"""What is wrong with a description, in one line of our own words: key, rule, and the value received.

The library that checks descriptions knows what is wrong as a type of error, a place and a few numbers; none of its
sentences is shown.
"""

import difflib
import json
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from dks_study.spec.backbone import BACKBONES, EXTERNAL_KINDS, EXTERNAL_NAME, ExternalSpec
from dks_study.spec.base import NAME, Spec
from dks_study.spec.search import AxisSpec
from dks_study.spec.study import StudySpec
from dks_study.spec.yamldoc import Document, Key

_AXIS_KEYS = {field.alias or name for name, field in AxisSpec.model_fields.items()}
_PATTERNS = {
    NAME: "must be a name of at most 40 of a-z, 0-9 and _ that begins with a letter",
    EXTERNAL_NAME: "must be written torchvision:NAME, timm:NAME or package.module:callable",
}
# What a union of plain values calls the one that it tried, and the type of error that goes with it.
_PLAIN_VALUES = {"bool": "bool_type", "int": "int_type", "float": "float_type", "str": "string_type"}


def _number(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else f"{limit:g}"


def _counted(count: int) -> str:
    return f"{count} value{'s' if count > 1 else ''}"


# Type of error -> the rule that was broken, from the limits that come with it.
RULES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda limits: f"must be above {_number(limits['gt'])}",
    "greater_than_equal": lambda limits: f"must be at least {_number(limits['ge'])}",
    "less_than": lambda limits: f"must be below {_number(limits['lt'])}",
    "less_than_equal": lambda limits: f"must be at most {_number(limits['le'])}",
    "int_type": lambda limits: "must be a whole number",
    "int_from_float": lambda limits: "must be a whole number",
    "float_type": lambda limits: "must be a number",
    "finite_number": lambda limits: "must be a finite number",
    "bool_type": lambda limits: "must be true or false",
    "string_type": lambda limits: "must be text",
    "string_too_short": lambda limits: "must not be empty",
    "string_pattern_mismatch": lambda limits: _PATTERNS[limits["pattern"]],
    "literal_error": lambda limits: f"must be {limits['expected'].replace(chr(39), '')}",
    "too_short": lambda limits: f"must hold at least {_counted(limits['min_length'])}",
    "too_long": lambda limits: f"must hold at most {_counted(limits['max_length'])}",
    "tuple_type": lambda limits: "must be a list",
    "dict_type": lambda limits: "must be a section of keys",
    "model_type": lambda limits: "must be a section of keys",
    "model_attributes_type": lambda limits: "must be a section of keys",
    "union_tag_invalid": lambda limits: f"must be one of {', '.join(BACKBONES)}",
    "union_tag_not_found": lambda limits: "must be a section of keys",
    "value_error": lambda limits: str(limits["error"]),
}


def split_key(dotted: str) -> tuple[str, ...]:
    """Split a dotted key; the keys of an arm and of the axes contain dots themselves."""
    parts = dotted.split(".")
    if parts[0] == "arms" and len(parts) > 2:
        return ("arms", parts[1], ".".join(parts[2:]))
    if parts[:2] == ["search", "axes"] and len(parts) > 3:
        *key, last = parts[2:]
        axis = (".".join(key), last) if last in _AXIS_KEYS else (".".join(parts[2:]),)
        return ("search", "axes", *axis)
    return tuple(parts)


def study_problem(errors: Sequence[ErrorDetails], document: Document, file: str) -> str:
    """Return the line about a study that its description forbids."""
    return _first_problem(errors, StudySpec, document, file)


def values_problem(errors: Sequence[ErrorDetails], model: type[Spec], where: str) -> str:
    """Return the line about values of a `model` that stand in no file: `where` they were given, key, rule, value."""
    return _first_problem(errors, model, Document({}, {}), where)


def _first_problem(errors: Sequence[ErrorDetails], model: type[Spec], document: Document, file: str) -> str:
    # A misspelt key shows as one unknown and one missing key: the unknown one tells the reader more.
    problem = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    key, value = _key_and_value(problem, errors)
    place = _plain(problem)
    inner = key.removeprefix(".".join(map(str, place))).lstrip(".")
    where = document.where((*place, *inner.split("."))) if place else document.where(split_key(key))
    known = _known_keys(model, problem["loc"][:-1])
    known = sorted({*known, "recipe"}) if model is StudySpec and not place[1:] else known
    others = len({_plain(error) for error in errors if not _lacks_what_is_wrong(error, errors)}) - 1
    more = f" (and {others} more)" if others else ""
    return f"{where or file}: {_sentence(key, value, problem, known, errors)}{more}"


def run_problem(errors: Sequence[ErrorDetails], blamed: Key, document: Document) -> str:
    """Return the line about an arm, or a setting of its search, that does not make a valid run; `blamed` is its key."""
    problem = errors[0]
    key, value = _key_and_value(problem, errors)
    if blamed[:2] == ("search", "axes") and ("search", "axes", key) in document.marks:
        blamed = ("search", "axes", key)  # another axis than the one that was tried
    prefix = ".".join(map(str, blamed))
    known = _known_keys(StudySpec, ("trial", *problem["loc"][:-1]))
    full = prefix if prefix.endswith(f".{key}") or not key else f"{prefix}.{key}"
    return f"{_where_in(document, blamed, key)}: {_sentence(full, value, problem, known, errors)}"


def _where_in(document: Document, blamed: Key, key: str) -> str:
    """Return where `key` was written in the section `blamed`, whose own keys are dotted: `loss.terms.hint: {...}`."""
    parts = key.split(".")
    for size in range(len(parts), 0, -1):
        written = (*blamed, ".".join(parts[:size]))
        if written in document.marks:
            return document.where((*written, *parts[size:]))
    return document.where(blamed)


def shown(value: object) -> str:
    """Return `value` as JSON, cut to 80 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ", did you mean X?" for the known word that is nearest to `word`, or "" if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""


def _key_and_value(problem: ErrorDetails, errors: Sequence[ErrorDetails]) -> tuple[str, object]:
    """Return the dotted key that a problem is about, and what stood there."""
    key = ".".join(map(str, _plain(problem)))
    if problem["type"] == "union_tag_invalid" or _lacks_its_name(problem):
        return f"{key}.name", problem["input"].get("name")
    # A rule over several keys begins its message with the key to change: `root: must ...`.
    first, colon, _ = _rule(problem, errors).partition(": ")
    if colon and " " not in first and isinstance(problem["input"], dict):
        value: Any = problem["input"]
        for part in split_key(first):
            value = value.get(part, problem["input"]) if isinstance(value, dict) else value
        return (f"{key}.{first}" if key else first), value
    return key, problem["input"]


def _sentence(
    key: str, value: object, problem: ErrorDetails, known: Sequence[str], errors: Sequence[ErrorDetails]
) -> str:
    if problem["type"] == "extra_forbidden":
        near = did_you_mean(key.rpartition(".")[2], known)
        return f"{key}: unknown key{near}; known here: {', '.join(known)}"
    if (problem["type"] == "missing" and not _lacks_values(problem)) or _lacks_its_name(problem):
        return f"{key}: the key is missing"
    rule = _rule(problem, errors)
    for head in _tails(key):
        rule = rule.removeprefix(f"{head}: ")
    return f"{key}: {rule}" if ", got " in rule else f"{key}: {rule}, got {shown(value)}"


def _rule(problem: ErrorDetails, errors: Sequence[ErrorDetails]) -> str:
    if _lacks_values(problem):
        last = max(int(error["loc"][-1]) for error in errors if error["loc"][:-1] == problem["loc"][:-1])
        return f"must hold {_counted(last + 1)}"
    if _of_a_union(problem):
        return "must be text, a number, true or false"
    return RULES[problem["type"]](problem.get("ctx", {})) if problem["type"] in RULES else "cannot be used here"


def _lacks_what_is_wrong(problem: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """Whether a list is too short only because what is in it is wrong, which is told by itself."""
    place = problem["loc"]
    inner = (error["loc"] for error in errors if error is not problem)
    return problem["type"] == "too_short" and any(each[: len(place)] == place for each in inner)


def _lacks_values(problem: ErrorDetails) -> bool:
    """Whether a list is too short that holds so many values, each of its own meaning."""
    return problem["type"] == "missing" and isinstance(problem["loc"][-1], int)


def _lacks_its_name(problem: ErrorDetails) -> bool:
    """Whether a backbone is a section without a name."""
    return problem["type"] == "union_tag_not_found" and isinstance(problem["input"], dict)


def _of_a_union(problem: ErrorDetails) -> bool:
    """Whether the last part of a problem's place is no key, but the kind of plain value that was tried."""
    last = problem["loc"][-1] if problem["loc"] else ""
    return _PLAIN_VALUES.get(str(last)) == problem["type"] or str(last).startswith("tuple[")


def _tails(key: str) -> list[str]:
    """Return a.b.c, b.c and c for a.b.c."""
    parts = key.split(".")
    return [".".join(parts[i:]) for i in range(len(parts))]


def _plain(problem: ErrorDetails) -> Key:
    """Return the key of a problem: its place without the kind of a backbone, `[key]` and the kinds of plain values."""
    place = problem["loc"][:-1] if _of_a_union(problem) or _lacks_values(problem) else problem["loc"]
    return tuple(
        part
        for i, part in enumerate(place)
        if part != "[key]" and not (i > 0 and place[i - 1] == "backbone" and i < len(place) - 1)
    )


def _known_keys(model: type[Spec], location: Sequence[int | str]) -> list[str]:
    """Return the keys that are allowed at `location` inside `model`."""
    models = {model}
    for part in location:
        inner = {m for each in models for m in _models_in(_field_type(each, part))}
        of_tag = {m for m in models if "name" in m.model_fields and part in _tags(m)}
        models = inner or of_tag or models  # an index or a dictionary key: stay
    return sorted({field.alias or name for each in models for name, field in each.model_fields.items()})


def _tags(model: type[Spec]) -> tuple[object, ...]:
    """Return the tags that stand for a kind of backbone in a problem's place."""
    return EXTERNAL_KINDS if model is ExternalSpec else typing.get_args(model.model_fields["name"].annotation)


def _field_type(model: type[Spec], name: int | str) -> object:
    field = model.model_fields.get(str(name))
    return field.annotation if field else None


def _models_in(annotation: object) -> set[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return {annotation}
    return {model for inner in typing.get_args(annotation) for model in _models_in(inner)}
