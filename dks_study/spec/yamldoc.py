"""YAML files as plain values that remember where each one stood.

What is written without quotes is read by the core schema of YAML 1.2 (section 10.3.2): 1e-4 is a number and 010 is 10;
yes, on, 1:30 and 1_000 are text. Safe by construction: only mappings, lists and scalars, no tags, no aliases, no
repeated keys.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer, ComposerError
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from dks_study.spec.base import Problem

Key = tuple[str | int, ...]
SET = "--set"  # where an override is written, as a file and a line are for what stands in a file


class SpecError(Problem, ValueError):
    """A description that cannot be used; the message is one line: file, key, rule and the value received."""


@dataclass(frozen=True)
class Document:
    """Nested plain values, and where every key in them was written: `file:line` or `--set`."""

    values: dict[str, Any]
    marks: Mapping[Key, str]

    def where(self, key: Key) -> str:
        """Return where `key`, or else the nearest thing around it, was written; "" if nowhere."""
        while key and key not in self.marks:
            key = key[:-1]
        return self.marks.get(key, "")


MOST_BYTES = 2**20  # of a file: the largest that ships has 7 kB, and reading takes seconds for each MiB
_TOO_LARGE = "whole numbers have at most 64 bits here"


def _whole(text: str) -> int:
    if len(text.lstrip("+-0ox")) > 64:  # not even read: Python refuses thousands of digits in words of its own
        raise ValueError(_TOO_LARGE)
    number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if abs(number) >= 2**63:
        raise ValueError(_TOO_LARGE)
    return number


_TAG = "tag:yaml.org,2002:"
# Name of a core-schema tag -> how its scalars are written, and what they are.
_CORE: Mapping[str, tuple[re.Pattern[str], Callable[[str], object]]] = {
    "null": (re.compile(r"(?:null|Null|NULL|~|)\Z"), lambda text: None),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), lambda text: text.lower() == "true"),
    "int": (re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), _whole),
    "float": (
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    ),
    "str": (re.compile(r"(?s:.*)\Z"), str),
}
_PLAIN = {_TAG + name for name in ("map", "seq", *_CORE)}


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Composes nodes and resolves their tags; it has nothing that could make an object of one."""

    # Under None: tried for every scalar without quotes, in this order.
    yaml_implicit_resolvers = {None: [(_TAG + name, pattern) for name, (pattern, _) in _CORE.items()]}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases, with which a few lines can stand for more than any memory holds."""
        if self.check_event(yaml.AliasEvent):
            rule = "aliases (*name) are not used here: write the value out"
            raise ComposerError(None, None, rule, self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


def load_document(path: Path) -> Document:
    """Read one YAML file whose top level is a mapping.

    Raises:
        SpecError: if the file cannot be read or is not plain YAML without aliases and repeated keys.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise SpecError(f"{path}: must have at most {MOST_BYTES} bytes, got {len(content)}")
    try:
        node = _Loader(content.decode("utf-8")).get_single_node()
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: cannot be read: it must be text in UTF-8") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise SpecError(f"{path}{_line_of(error)}: not valid YAML: {_problem(error)}") from error
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(f"{path}: the top level must be `key: value` lines")
    marks: dict[Key, str] = {}
    values = _read(node, (), str(path), marks)
    return Document(values, marks)


def parse_value(text: str, where: str, key: Key, marks: dict[Key, str]) -> Any:  # noqa: ANN401
    """Read the value of one `--set key=value`.

    Raises:
        SpecError: if the text is not one plain YAML value.
    """
    try:
        node = _Loader(text).get_single_node()
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise SpecError(f"{where}: not valid YAML: {_problem(error)}, got {text!r}") from error
    if node is None:
        marks[key] = SET
        return None
    try:
        return _read(node, key, SET, marks)
    except SpecError as error:
        said = str(error).removeprefix(f"{SET}: ")
        raise SpecError(f"{SET}: {said}" if said.startswith(".".join(map(str, key))) else f"{where}: {said}") from error


def _read(node: yaml.Node, key: Key, file: str, marks: dict[Key, str]) -> Any:  # noqa: ANN401
    where = f"{file}:{node.start_mark.line + 1}" if file != SET else file
    if node.tag not in _PLAIN:
        raise SpecError(f"{where}: not a plain value: no tags here, got {node.tag!r}")
    marks[key] = where
    if isinstance(node, yaml.SequenceNode):
        return [_read(item, (*key, i), file, marks) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, where, key)
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        name = key_node.value
        line = f"{file}:{key_node.start_mark.line + 1}" if file != SET else file
        if not isinstance(name, str) or not name.isprintable() or key_node.tag not in _PLAIN:
            got = repr(name) if isinstance(name, str) else "a list or a section"
            raise SpecError(f"{line}: a key must be plain text, got {got}")
        if name in values:
            raise SpecError(f"{line}: {'.'.join(map(str, (*key, name)))}: the key is written twice")
        values[name] = _read(value_node, (*key, name), file, marks)
        marks[(*key, name)] = line
    return values


def _scalar(node: yaml.ScalarNode, where: str, key: Key) -> object:
    kind = node.tag.removeprefix(_TAG)
    pattern, value_of = _CORE.get(kind, (None, str))
    try:
        if pattern is None or not pattern.match(node.value):
            raise ValueError(f"{node.value!r} is no {kind}")
        value = value_of(node.value)
        if isinstance(value, str):
            value.encode()
        return value
    except ValueError as error:
        raise SpecError(f"{where}: {'.'.join(map(str, key))}: not a plain value: {_problem(error)}") from error


def _line_of(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _problem(error: Exception) -> str:
    if isinstance(error, ReaderError):
        return f"U+{error.character:04X} is no character of a text"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return f"U+{ord(error.object[error.start]):04X} is no character of a text"
    return " ".join(str(getattr(error, "problem", None) or error).split())
