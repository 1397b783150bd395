"""From a space file, a profile file and `--set` overrides to a validated StudySpec, or one clear line of error."""

import contextlib
import difflib
import json
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dks_study.spec.backbone import BACKBONES, EXTERNAL_KINDS, ExternalSpec
from dks_study.spec.base import Spec
from dks_study.spec.expand import with_arms
from dks_study.spec.search import AxisSpec
from dks_study.spec.space_checks import Problem, constraint_problems, settings_to_check, space_problems, study_problems
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.trial import Scalar
from dks_study.spec.yamldoc import Document, Key, Mark, SpecError, load_document, parse_value

SPACES = Path(__file__).resolve().parents[2] / "search_spaces"
KEPT = SPACES.parent / "analysis" / "results"  # studies that ship with their results
_YAML_BOOLEAN_WORDS = {"on", "off", "yes", "no", "y", "n"}
_AXIS_KEYS = {field.alias or name for name, field in AxisSpec.model_fields.items()}
_BARE_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def load_study(space: str, profile: str | None = None, overrides: Sequence[str] = ()) -> StudySpec:
    """Build the study that `--space`, `--profile` and `--set` describe.

    Args:
        space: a name in search_spaces/ (with or without .yaml) or a path.
        profile: the same for search_spaces/profiles/; None takes the one that the space names.
        overrides: `dotted.key=value` texts, the last one wins.

    The profile, the space or an override may name a `recipe` in search_spaces/recipes/: its values lie under theirs.

    Raises:
        SpecError: one line that names file, key, rule and value.
    """
    path = find_file(space, SPACES, "space")
    question = load_document(path)
    chosen = question.values.get("profile") if profile is None else profile
    if not isinstance(chosen, str):
        raise SpecError(f"{path}: profile: must name a file in search_spaces/profiles/, got {chosen!r}")
    profile_path = find_file(chosen, SPACES / "profiles", "profile")
    scale = load_document(profile_path)
    document = _merge(scale, question)
    for override in overrides:
        document = _override(document, override)
    document = _over_recipe(document)
    document.values.pop("about", None)
    document.values.update(name=path.stem, profile=profile_path.stem)
    return _check_arms(_validate(document, path), document)


def find_file(name: str, folder: Path, kind: str, asked: str = "") -> Path:
    """Return the path of a space, profile or recipe given by name or path.

    Args:
        name: what was asked for.
        folder: where the shipped ones are.
        kind: what it is.
        asked: where it was asked for, to begin the message with; by default the option of that kind.

    Raises:
        SpecError: if there is none; the message lists the names and the nearest one.
    """
    stem = name.removesuffix(".yaml")
    shipped = sorted(path.stem for path in folder.glob("*.yaml"))
    if stem in shipped:
        return folder / f"{stem}.yaml"
    with contextlib.suppress(OSError):
        if Path(name).is_file():
            return Path(name)
    shown = name if name.isprintable() else repr(name)
    where = asked or f"--{kind}"
    raise SpecError(f"{where} {shown}: no such {kind}{_did_you_mean(stem, shipped)}; there are: {', '.join(shipped)}")


def _over_recipe(document: Document) -> Document:
    """Lay `document` over the recipe that it names, if it names one."""
    name, where = document.values.pop("recipe", None), document.mark(("recipe",)).where
    if name is None:
        return document
    if not isinstance(name, str):
        raise SpecError(f"{where}: recipe: must name a file in search_spaces/recipes/, got {_shown(name)}")
    recipe = load_document(find_file(name, SPACES / "recipes", "recipe", f"{where}: recipe:"))
    for key in recipe.values.keys() - {"about", "trial"}:
        raise SpecError(f"{recipe.mark((key,)).where}: {key}: a recipe holds `about` and `trial` alone")
    return _merge(recipe, document)


def _merge(under: Document, over: Document) -> Document:
    return Document(_merged(under.values, over.values), {**under.marks, **over.marks})


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict) and not _is_another_family(key, below, value):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _is_another_family(key: str, below: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    """Whether `value` is another kind of backbone, for which the keys below have no meaning."""
    return key == "backbone" and "name" in value and value["name"] != below.get("name")


def _override(document: Document, text: str) -> Document:
    dotted, equals, raw = text.partition("=")
    where = "--set"
    if not equals or not dotted.strip() or not dotted.isprintable():
        raise SpecError(f"--set takes dotted.key=value, got {text!r}")
    if dotted.strip() in ("name", "profile"):
        raise SpecError(f"--set: {dotted}: follows from the files: use --space and --profile, got {raw!r}")
    path = _split(dotted.strip(), document.values)
    marks: dict[Key, Mark] = {}
    value = parse_value(raw, f"--set: {dotted}", path, marks)
    nested: dict[str, Any] = {}
    inner = nested
    for part in path[:-1]:
        inner = inner.setdefault(part, {})
    inner[path[-1]] = value
    new: dict[Key, Mark] = {path[:n]: Mark(where) for n in range(1, len(path)) if path[:n] not in document.marks}
    return _merge(document, Document(nested, {**new, **marks}))


def _split(dotted: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Split a dotted key; the keys of an arm and of the axes contain dots themselves."""
    parts = dotted.split(".")
    if parts[0] == "arms" and len(parts) > 2:
        return ("arms", parts[1], ".".join(parts[2:]))
    if parts[:2] == ["search", "axes"] and len(parts) > 3:
        *key, last = parts[2:]
        axis = (".".join(key), last) if last in _AXIS_KEYS else (".".join(parts[2:]),)
        return ("search", "axes", *axis)
    return tuple(parts)


def _validate(document: Document, path: Path) -> StudySpec:
    try:
        return StudySpec.model_validate_json(json.dumps(document.values))
    except ValidationError as error:
        raise SpecError(_first_problem(error.errors(), StudySpec, document, str(path))) from error


def _check_arms(study: StudySpec, document: Document) -> StudySpec:
    """Check every arm and its search; return the study with the arms that `search.as_arms` makes."""
    for arm in study.arms:
        _check_run(study, arm, {}, ("arms", arm), document)
    try:
        expanded = with_arms(study)
    except ValueError as error:
        key = str(error).partition(":")[0]
        raise SpecError(f"{document.mark(tuple(key.split('.'))).where}: {error}") from error
    for arm in expanded.arms:
        _check_run(expanded, arm, {}, ("arms", arm), document)
        _refuse(constraint_problems(expanded, arm), document)
        for blamed, setting in settings_to_check(expanded, arm):
            _check_run(expanded, arm, setting, blamed, document)
        _refuse(space_problems(expanded, arm), document)
    _refuse(study_problems(expanded), document)
    return expanded


def _refuse(problems: Iterable[Problem], document: Document) -> None:
    for key, sentence in problems:
        raise SpecError(f"{document.mark(key).where}: {'.'.join(map(str, key))}: {sentence}")


def _check_run(study: StudySpec, arm: str, setting: Mapping[str, Scalar], blamed: Key, document: Document) -> None:
    prefix = ".".join(map(str, blamed))
    try:
        arm_run(study, arm, setting)
    except ValidationError as error:
        problem = error.errors()[0]
        key, value = _key_and_value(problem)
        if key in study.search.axes and blamed[:2] == ("search", "axes"):  # another axis than the one that was tried
            prefix, blamed = f"search.axes.{key}", ("search", "axes", key)
        known = _known_keys(StudySpec, ("trial", *problem["loc"][:-1]))
        full = prefix if prefix.endswith(f".{key}") or not key else f"{prefix}.{key}"
        mark = document.mark((*blamed, key))
        where = mark.where
        raise SpecError(f"{where}: {_sentence(full, value, problem, known, mark)}") from error
    except KeyError as error:
        raise SpecError(f"{document.mark(blamed).where}: {prefix}.{error.args[0]}") from error


def _first_problem(errors: list[ErrorDetails], model: type[Spec], document: Document, file: str) -> str:
    # A misspelt key shows as one unknown and one missing key: the unknown one tells the reader more.
    problem = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    key, value = _key_and_value(problem)
    place = _plain(problem["loc"])
    inner = key.removeprefix(".".join(map(str, place))).lstrip(".")
    mark = document.mark((*place, *inner.split("."))) if place else document.mark(_split(key, document.values))
    known = _known_keys(model, problem["loc"][:-1])
    known = known if place[1:] else sorted({*known, "recipe"})
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{mark.where or file}: {_sentence(key, value, problem, known, mark)}{more}"


def _key_and_value(problem: ErrorDetails) -> tuple[str, object]:
    """Return the dotted key that a problem is about, and what stood there."""
    key = ".".join(map(str, _plain(problem["loc"])))
    if problem["type"].startswith("union_tag"):
        return f"{key}.name", problem.get("ctx", {}).get("tag")
    # A rule over several keys begins its message with the key to change: `root: must ...`.
    first, colon, _ = problem["msg"].removeprefix("Value error, ").partition(": ")
    if colon and " " not in first and isinstance(problem["input"], dict):
        value: Any = problem["input"]
        for part in _split(first, {}):
            value = value.get(part, problem["input"]) if isinstance(value, dict) else value
        return (f"{key}.{first}" if key else first), value
    return key, problem["input"]


def _sentence(key: str, value: object, problem: ErrorDetails, known: Sequence[str], mark: Mark) -> str:
    if problem["type"] == "extra_forbidden":
        near = _did_you_mean(key.rpartition(".")[2], known)
        return f"{key}: unknown key{near}; known here: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{key}: the key is missing"
    if problem["type"].startswith("union_tag"):
        return f"{key}: must be one of {', '.join(BACKBONES)}, got {_shown(value)}"
    rule = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    for head in _tails(key):
        rule = rule.removeprefix(f"{head}: ")
    got = "" if ", got " in rule else f", got {_shown(value)}"
    return f"{key}: {rule}{got}{_yaml_hint(value, mark)}"


def _tails(key: str) -> list[str]:
    """Return a.b.c, b.c and c for a.b.c."""
    parts = key.split(".")
    return [".".join(parts[i:]) for i in range(len(parts))]


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _yaml_hint(value: object, mark: Mark) -> str:
    if isinstance(value, str) and _BARE_EXPONENT.fullmatch(value):
        return f" (YAML reads {value} as text: a number in exponent form needs a point and a sign, like 1.0e-4)"
    if isinstance(value, bool) and mark.text.lower() in _YAML_BOOLEAN_WORDS:
        return f" (YAML reads {mark.text} as {str(value).lower()}: put it in quotes if you mean the word)"
    return ""


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""


def _plain(location: tuple[int | str, ...]) -> Key:
    """Drop what pydantic adds to a location: the tag of a tagged union and `[key]`."""
    return tuple(
        part
        for i, part in enumerate(location)
        if part != "[key]" and not (i > 0 and location[i - 1] == "backbone" and i < len(location) - 1)
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
    """Return the tags that stand for a kind of backbone in pydantic's locations."""
    return EXTERNAL_KINDS if model is ExternalSpec else typing.get_args(model.model_fields["name"].annotation)


def _field_type(model: type[Spec], name: int | str) -> object:
    field = model.model_fields.get(str(name))
    return field.annotation if field else None


def _models_in(annotation: object) -> set[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return {annotation}
    return {model for inner in typing.get_args(annotation) for model in _models_in(inner)}
