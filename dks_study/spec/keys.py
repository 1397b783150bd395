"""What the keys of a description mean: the words of its docstring, for editors (schema.py) and for the manual."""

import inspect
import re
import typing

from dks_study.spec.base import Spec

_ATTRIBUTES = "\nAttributes:\n"
_ENTRY = re.compile(r"    (\w+(?:, \w+)*): ")  # one key, or several that are told together
_SENTENCE = re.compile(r"(?<=[.;])\s+")


def prose_of(model: type[Spec]) -> str:
    """Return the docstring of `model` without its list of attributes, as paragraphs of one line each."""
    text = (inspect.getdoc(model) or "").partition(_ATTRIBUTES)[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def words_of(model: type[Spec]) -> dict[str, str]:
    """Return what the docstring of `model` says of each of its keys, as they are written in YAML.

    That is the key's entry under `Attributes:`, there or in what `model` extends, or else the sentences that name it in
    backticks; "" if there is none.
    """
    listed: dict[str, str] = {}
    for described in reversed(model.__mro__):  # what several descriptions have is told in what they are made from
        listed |= _listed(inspect.getdoc(described) or "") if issubclass(described, Spec) else {}
    return {
        field.alias or name: listed.get(name) or listed.get(field.alias or name) or _mentions(model, name)
        for name, field in model.model_fields.items()
    }


def specs_in(annotation: object) -> list[type[Spec]]:
    """Return the descriptions that a type is made of, or may be, in the order in which it names them."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return list(dict.fromkeys(spec for inner in typing.get_args(annotation) for spec in specs_in(inner)))


def all_specs(model: type[Spec]) -> list[type[Spec]]:
    """Return `model` and every description inside of it, each once, outer ones first."""
    found = [model]
    for spec in found:
        inner = (each for field in spec.model_fields.values() for each in specs_in(field.annotation))
        found += [each for each in dict.fromkeys(inner) if each not in found]
    return found


def _listed(text: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    keys: list[str] = []
    for line in text.partition(_ATTRIBUTES)[2].splitlines():
        if start := _ENTRY.match(line):
            keys, line = start[1].split(", "), line[start.end() :]
        for key in keys:
            entries[key] = f"{entries.get(key, '')} {line.strip()}".strip()
    return entries


def _mentions(model: type[Spec], key: str) -> str:
    sentences = _SENTENCE.split(prose_of(model).replace("\n\n", " "))
    return " ".join(each.removesuffix(";") for each in sentences if f"`{key}`" in each)
