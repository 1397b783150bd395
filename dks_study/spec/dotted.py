"""Dotted keys of nested values, and sections that are written whole."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any


def set_dotted(values: dict[str, Any], dotted: str, value: object) -> None:
    """Put a copy of `value` at a dotted key, in place of what stands there.

    Raises:
        KeyError: if the key leads through something that is not a section.
    """
    *sections, last = dotted.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise KeyError(f"{dotted}: {section} must be a section of keys, got {inner!r}")
        values = inner
    values[last] = deepcopy(value)


def is_another_family(key: str, below: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    """Whether `value` is another kind of backbone, for which the keys below have no meaning."""
    return key == "backbone" and "name" in value and value["name"] != below.get("name")


def left_out(values: Mapping[str, Any], dotted: str, whole: Mapping[str, Any]) -> list[str]:
    """Return the keys of `values` that are gone when the section `whole` takes the place of what stands at a key."""
    below: Any = values
    for part in dotted.split("."):
        below = below.get(part) if isinstance(below, Mapping) else None
    if not isinstance(below, Mapping) or is_another_family(dotted.rpartition(".")[2], below, whole):
        return []
    return list(_gone(below, whole, f"{dotted}."))


def _gone(below: Mapping[str, Any], whole: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in below.items():
        if key not in whole:
            yield f"{prefix}{key}"
        elif isinstance(value, Mapping) and isinstance(whole[key], Mapping):
            yield from _gone(value, whole[key], f"{prefix}{key}.")
