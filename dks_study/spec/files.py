"""From a space file, a profile file and `--set` overrides to a validated StudySpec, or one clear line of error."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dks_study.spec.base import NAME
from dks_study.spec.dotted import is_another_family
from dks_study.spec.expand import with_arms
from dks_study.spec.linking import idle_problems
from dks_study.spec.shipped import SPACES
from dks_study.spec.space_checks import Problem, constraint_problems, settings_to_check, space_problems, study_problems
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.trial import Scalar
from dks_study.spec.unused import unused_problems
from dks_study.spec.wording import did_you_mean, run_problem, shown, split_key, study_problem
from dks_study.spec.yamldoc import SET, Document, Key, SpecError, load_document, parse_value


def load_study(space: str, profile: str | None = None, overrides: Sequence[str] = ()) -> StudySpec:
    """Build the study that `--space`, `--profile` and `--set` describe.

    Args:
        space: a name in search_spaces/ (with or without .yaml) or a path.
        profile: the same for search_spaces/profiles/; None takes the one that the space names.
        overrides: `dotted.key=value` texts, the last one wins. What stands at the key, a whole section too, gives way.

    The profile, the space or an override may name a `recipe` in search_spaces/recipes/: its values lie under theirs.
    Sections of recipe, profile and space are merged key by key. A study that names itself nowhere has its file's name.

    Raises:
        SpecError: one line that names file, key, rule and value.
    """
    path = find_file(space, SPACES, "space")
    question = load_document(path)
    chosen = question.values.get("profile") if profile is None else profile
    if not isinstance(chosen, str):
        raise SpecError(f"{path}: profile: must name a file in search_spaces/profiles/, got {shown(chosen)}")
    profile_path = find_file(chosen, SPACES / "profiles", "profile")
    scale = load_document(profile_path)
    recipes = [text for text in overrides if text.partition("=")[0].strip() == "recipe"]
    document = _merge(scale, question)
    for text in recipes:
        document = _override(document, text)
    document = _over_recipe(document)
    for text in overrides:
        document = document if text in recipes else _override(document, text)
    document.values.pop("about", None)
    if "name" not in document.values:
        document.values["name"] = _safe_name(path, ", or give `name: ...` in it")
    document.values["profile"] = _safe_name(profile_path)
    if "profile" in scale.values:
        got = shown(scale.values["profile"])
        raise SpecError(f"{scale.where(('profile',))}: profile: must be left out of a profile, got {got}")
    return _check_arms(_validate(document, path), document)


def changed_study(study: StudySpec, overrides: Sequence[str]) -> StudySpec:
    """Return `study` with `dotted.key=value` texts put in place of what stands there.

    Raises:
        SpecError: one line that names key, rule and value.
    """
    document = Document(study.model_dump(mode="json", by_alias=True, exclude_unset=True), {})
    for text in overrides:
        document = _override(document, text)
    if "recipe" in document.values:
        got = shown(document.values["recipe"])
        raise SpecError(f"--set: recipe: must be left out: it lies under a study that is begun anew, got {got}")
    return _check_arms(_validate(document, Path(study.name)), document)


def _safe_name(path: Path, way_out: str = "") -> str:
    """Return the name of a file as that of a study or a profile: `Frage ü.yaml` is `frage_u`.

    Raises:
        SpecError: if nothing is left of it, or it does not begin with a letter; names `way_out`.
    """
    if re.match(NAME, path.stem):
        return path.stem
    plain = unicodedata.normalize("NFKD", path.stem).encode("ascii", "ignore").decode().lower()
    name = re.sub("[^a-z0-9]+", "_", plain).strip("_")[:40]
    if not re.match(NAME, name):
        rule = "the file's name must begin with one of a-z, as results are named after it: rename the file"
        raise SpecError(f"{path}: {rule}{way_out}, got {path.stem!r}")
    return name


def find_file(name: str, folder: Path, kind: str, asked: str = "") -> Path:
    """Return the path of a space, profile or recipe given by name or path.

    Args:
        name: what was asked for.
        folder: where the shipped ones are.
        kind: what it is.
        asked: where it was asked for, to begin the message with; by default the option of that kind.

    Raises:
        SpecError: if there is none; the message lists the names and the nearest one. Or if a file of one's own has the
            name of another one that ships.
    """
    stem = name.removesuffix(".yaml")
    shipped = sorted(path.stem for path in folder.glob("*.yaml"))
    printed, where = name if name.isprintable() else repr(name), asked or f"--{kind}"
    try:
        is_here = Path(name).is_file()
        if stem in shipped:
            ours = folder / f"{stem}.yaml"
            if name != stem and is_here and Path(name).read_bytes() != ours.read_bytes():
                rule = f"write ./{name} for the file here, or {stem} for the {kind} that ships"
                raise SpecError(f"{where} {name}: a file here and another one that ships have this name: {rule}")
            return ours
        if is_here:
            return Path(name)
    except OSError as error:  # nobody may look there, or the name is too long
        raise SpecError(f"{where} {printed}: {error.strerror}") from error
    raise SpecError(f"{where} {printed}: no such {kind}{did_you_mean(stem, shipped)}; there are: {', '.join(shipped)}")


def _over_recipe(document: Document) -> Document:
    """Lay `document` over the recipe that it names, if it names one."""
    name, where = document.values.pop("recipe", None), document.where(("recipe",))
    if name is None:
        return document
    if not isinstance(name, str):
        raise SpecError(f"{where}: recipe: must name a file in search_spaces/recipes/, got {shown(name)}")
    recipe = load_document(find_file(name, SPACES / "recipes", "recipe", f"{where}: recipe:"))
    for key in recipe.values.keys() - {"about", "trial"}:
        raise SpecError(f"{recipe.where((key,))}: {key}: a recipe holds `about` and `trial` alone")
    return _merge(recipe, document)


def _merge(under: Document, over: Document) -> Document:
    return Document(_merged(under.values, over.values), {**under.marks, **over.marks})


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict) and not is_another_family(key, below, value):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _override(document: Document, text: str) -> Document:
    """Put the value of one `--set key=value` where another one stands: all of it gives way."""
    dotted, equals, raw = text.partition("=")
    if not equals or not all(dotted.strip().split(".")) or not dotted.isprintable():
        raise SpecError(f"--set takes dotted.key=value, got {text!r}")
    path = split_key(dotted.strip())
    if path[0] in ("name", "profile", "about"):
        raise SpecError(f"--set: {dotted}: follows from the files: use --space and --profile, got {raw!r}")
    if path[0] == "recipe" and len(path) > 1:
        raise SpecError(f"--set: {dotted}: a recipe is named as a whole (recipe=NAME), got {raw!r}")
    new = dict[Key, str]()
    below: Any = document.values
    for n in range(1, len(path)):
        below = below.get(path[n - 1]) if isinstance(below, dict) else None
        if path[:n] not in document.marks or not isinstance(below, dict):
            new[path[:n]] = SET
    value = parse_value(raw, f"{SET}: {dotted}", path, new)
    kept = {key: where for key, where in document.marks.items() if key[: len(path)] != path}
    return Document(_replaced(document.values, path, value), {**kept, **new})


def _replaced(values: Mapping[str, Any], path: Sequence[str], value: object) -> dict[str, Any]:
    """Return `values` with `value` at `path`, whatever stood there or on the way."""
    first, *rest = path
    if not rest:
        return {**values, first: value}
    below = values.get(first)
    inner = {} if not isinstance(below, dict) or is_another_family(first, below, {rest[0]: value}) else below
    return {**values, first: _replaced(inner, rest, value)}


def _validate(document: Document, path: Path) -> StudySpec:
    try:
        return StudySpec.model_validate_json(json.dumps(document.values))
    except ValidationError as error:
        raise SpecError(study_problem(error.errors(), document, str(path))) from error


def _check_arms(study: StudySpec, document: Document) -> StudySpec:
    """Check every arm and its search; return the study with the arms that `search.as_arms` makes."""
    for arm in study.arms:
        _check_run(study, arm, {}, ("arms", arm), document)
    try:
        expanded = with_arms(study)
    except ValueError as error:
        key = str(error).partition(":")[0]
        raise SpecError(f"{document.where(tuple(key.split('.')))}: {error}") from error
    for arm in expanded.arms:
        _check_run(expanded, arm, {}, ("arms", arm), document)
        _refuse(constraint_problems(expanded, arm), document)
        for blamed, setting in settings_to_check(expanded, arm):
            _check_run(expanded, arm, setting, blamed, document)
        _refuse(space_problems(expanded, arm), document)
    _refuse(study_problems(expanded), document)
    _refuse(idle_problems(expanded), document)
    _refuse(unused_problems(expanded), document)
    return expanded


def _refuse(problems: Iterable[Problem], document: Document) -> None:
    for key, sentence in problems:
        raise SpecError(f"{document.where(key)}: {'.'.join(map(str, key))}: {sentence}")


def _check_run(study: StudySpec, arm: str, setting: Mapping[str, Scalar], blamed: Key, document: Document) -> None:
    try:
        arm_run(study, arm, setting)
    except ValidationError as error:
        raise SpecError(run_problem(error.errors(), blamed, document)) from error
    except KeyError as error:
        raise SpecError(f"{document.where(blamed)}: {'.'.join(map(str, blamed))}.{error.args[0]}") from error
