"""Rules for what JSON holds, looked at fast: a ledger has thousands of lines.

A rule takes a value and its key, and returns in words what is wrong; "" if nothing is.
"""

import json
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rule = Callable[[Any, str], str]


def parsed(text: bytes) -> Any:  # noqa: ANN401  # as JSON has it
    """Return what JSON in UTF-8 says.

    Raises:
        ValueError: in our words.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it must be JSON, got none at character {error.pos + 1} ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise ValueError("it must be text in UTF-8") from error
    except RecursionError as error:
        raise ValueError("it must be nested less deeply") from error


def check(value: object, rule: Rule) -> None:
    """Refuse a value against a rule.

    Raises:
        ValueError: names key, rule and value.
    """
    if wrong := rule(value, ""):
        raise ValueError(wrong)


def _one(right: Callable[[Any], bool], rule: str) -> Rule:
    return lambda value, key: "" if right(value) else _told(key, rule, value)


def whole(least: int) -> Rule:
    """Return the rule of a whole number from `least` on."""
    return _one(lambda value: type(value) is int and value >= least, f"a whole number of at least {least}")


def one_of(names: Sequence[str]) -> Rule:
    """Return the rule of a text that is one of `names`."""
    return _one(lambda value: type(value) is str and value in names, f"one of {', '.join(names)}")


def values(kind: type[Any], types: set[type], rule: str) -> Rule:
    """Return the rule of an object (`kind` dict) or a list of values of these `types`, each of which must be `rule`."""

    def wrong(held: Any, key: str) -> str:  # noqa: ANN401  # as JSON has it
        if type(held) is not kind:
            return _told(key, "an object" if kind is dict else "a list", held)
        inner = held.values() if isinstance(held, dict) else held
        if types.issuperset(map(type, inner)):
            return ""
        named = held.items() if isinstance(held, dict) else enumerate(held)
        return next(_told(f"{key}.{name}", rule, each) for name, each in named if type(each) not in types)

    return wrong


def keys(needed: Mapping[str, Rule], further: Mapping[str, Rule]) -> Rule:
    """Return the rule of an object with all keys of `needed`, some of `further`, and no others."""
    rules = {**needed, **further}

    def wrong(held: Any, key: str) -> str:  # noqa: ANN401  # as JSON has it
        if type(held) is not dict:
            return _told(key or "it", "an object", held)
        before = f"{key}." if key else ""
        for name, value in held.items():
            if (rule := rules.get(name)) is None:
                return f"{before}{name} must be left out: there are {', '.join(rules)}"
            if told := rule(value, before + name):
                return told
        lacking = needed.keys() - held.keys()
        return f"{before}{min(lacking)} must be there, got none" if lacking else ""

    return wrong


def or_none(rule: Rule) -> Rule:
    """Return the rule of what may be null, too."""
    return lambda value, key: "" if value is None else rule(value, key)


TEXT = _one(lambda value: type(value) is str, "a text")
NUMBER = _one(lambda value: type(value) in (int, float), "a number")
NUMBERS, LISTED_NUMBERS = (values(kind, {int, float}, "a number") for kind in (dict, list))


def _told(key: str, rule: str, value: object) -> str:
    return f"{key} must be {rule}, got {reprlib.repr(value)}"
