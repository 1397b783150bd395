"""What is given to a function from Python, held to the rules of the command line."""

import json
from argparse import ArgumentTypeError
from collections.abc import Collection, Mapping
from numbers import Real
from pathlib import Path

from dks_study.spec.base import printable
from dks_study.spec.options import WHERE
from dks_study.spec.study import StudySpec
from dks_study.spec.yamldoc import SpecError

_KINDS: Mapping[str, tuple[type, ...]] = {"disk_gib": (Real,), "reuse": (str, Path)}  # all others are texts


def overrides(values: object) -> list[str]:
    """Return values by dotted key as `--set` takes them.

    Raises:
        SpecError: names what is no such values, or no value.
    """
    if not isinstance(values, Mapping):
        raise SpecError(f"set: must be values by dotted key, such as {{'trial.epochs': 10}}, got {values!r}")
    return [f"{key}={_json(key, value)}" for key, value in values.items()]


def folder(name: str, value: object) -> Path:
    """Return the folder that `name` is.

    Raises:
        SpecError: if it is no path.
    """
    if not isinstance(value, str | Path) or not str(value).strip():
        raise SpecError(f"{name}: must be a folder, got {value!r}")
    return Path(value)


def study(value: object) -> StudySpec:
    """Return a study.

    Raises:
        SpecError: if it is none.
    """
    if not isinstance(value, StudySpec):
        raise SpecError(f"study: must be what load returned, got {value!r}")
    return value


def check_where(values: Mapping[str, object], retry: object) -> None:
    """Check options of `run` by name; None and, for reuse, true and false need none.

    Raises:
        SpecError: names the one that is wrong.
    """
    for name, value in values.items():
        if value is None or (name == "reuse" and isinstance(value, bool)):
            continue
        right = isinstance(value, _KINDS.get(name, (str,))) and not isinstance(value, bool)
        try:
            WHERE[name](str(value) if right else "")
        except ArgumentTypeError as error:
            raise SpecError(f"{name}: {str(error).rpartition(', got ')[0]}, got {value!r}") from error
    if isinstance(retry, str) or not isinstance(retry, Collection) or not all(isinstance(each, str) for each in retry):
        raise SpecError(f"retry: must be a list such as ['failed'], got {retry!r}")


def _json(key: object, value: object) -> str:
    if not isinstance(key, str) or "=" in key:
        raise SpecError(f"set: must have dotted keys, got {key!r}")
    try:
        # YAML has no pairs of escapes, as JSON has for what is beyond U+FFFF.
        return printable(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError) as error:
        raise SpecError(f"set: {key}: must be what YAML can hold, got {value!r}") from error
