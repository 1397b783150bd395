"""YAML files as plain values that remember where each one stood: strict where YAML 1.1 surprises.

Safe by construction: only mappings, lists and scalars, no tags, no aliases, no repeated keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dks_study.spec.base import Problem

Key = tuple[str | int, ...]


class SpecError(Problem, ValueError):
    """A description that cannot be used; the message is one line: file, key, rule and the value received."""


@dataclass(frozen=True)
class Mark:
    """Where a value was written (`file:line` or `--set`) and its text there."""

    where: str
    text: str = ""


@dataclass(frozen=True)
class Document:
    """Nested plain values, and the mark of every key in them."""

    values: dict[str, Any]
    marks: Mapping[Key, Mark]

    def mark(self, key: Key) -> Mark:
        """Return the mark of `key`, or of the nearest thing around it that was written somewhere."""
        while key and key not in self.marks:
            key = key[:-1]
        return self.marks.get(key, Mark(""))


class _Loader(yaml.SafeLoader):
    """SafeLoader that leaves dates as text (a date is never a value here)."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_document(path: Path) -> Document:
    """Read one YAML file whose top level is a mapping.

    Raises:
        SpecError: if the file cannot be read or is not plain YAML without aliases and repeated keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = _compose(text, str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{path}{_line_of(error)}: not valid YAML: {_problem(error)}") from error
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(f"{path}: the top level must be `key: value` lines")
    marks: dict[Key, Mark] = {}
    values = _read(node, (), str(path), marks)
    return Document(values, marks)


def parse_value(text: str, where: str, key: Key, marks: dict[Key, Mark]) -> Any:  # noqa: ANN401
    """Read the value of one `--set key=value`.

    Raises:
        SpecError: if the text is not one plain YAML value.
    """
    try:
        node = _compose(text, where)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{where}: not valid YAML: {_problem(error)}, got {text!r}") from error
    if node is None:
        marks[key] = Mark("--set")
        return None
    try:
        return _read(node, key, "--set", marks)
    except SpecError as error:
        raise SpecError(f"{where}: {str(error).removeprefix('--set: ')}") from error


_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null")}


def _compose(text: str, where: str) -> yaml.Node | None:
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
        raise SpecError(f"{where}: YAML aliases (*name) are not used here: write the value out")
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return node


def _read(node: yaml.Node, key: Key, file: str, marks: dict[Key, Mark]) -> Any:  # noqa: ANN401
    where = f"{file}:{node.start_mark.line + 1}" if file != "--set" else file
    if node.tag not in _PLAIN:
        raise SpecError(f"{where}: not a plain value: no tags here, got {node.tag!r}")
    if isinstance(node, yaml.SequenceNode):
        marks[key] = Mark(where)
        return [_read(item, (*key, i), file, marks) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        marks[key] = Mark(where, node.value)
        return _scalar(node, where, key)
    marks[key] = Mark(where)
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        name = key_node.value
        line = f"{file}:{key_node.start_mark.line + 1}" if file != "--set" else file
        if not isinstance(name, str) or not name.isprintable() or key_node.tag not in _PLAIN:
            raise SpecError(f"{line}: a key must be plain text")
        if name in values:
            raise SpecError(f"{line}: {'.'.join(map(str, (*key, name)))}: the key is written twice")
        values[name] = _read(value_node, (*key, name), file, marks)
        marks[(*key, name)] = Mark(line, marks[(*key, name)].text)
    return values


def _scalar(node: yaml.ScalarNode, where: str, key: Key) -> object:
    loader = _Loader("")
    try:
        value = loader.construct_object(node)
        if isinstance(value, str):
            value.encode()
        return value
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(f"{where}: {'.'.join(map(str, key))}: not a plain value: {_problem(error)}") from error
    finally:
        loader.dispose()


def _line_of(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _problem(error: Exception) -> str:
    return " ".join(str(getattr(error, "problem", None) or error).split())
