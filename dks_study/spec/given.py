"""What is given to a function from Python, held to the rules of the command line."""

import json
from collections.abc import Mapping

from dks_study.spec.base import printable
from dks_study.spec.yamldoc import SpecError


def overrides(values: object) -> list[str]:
    """Return values by dotted key as `--set` takes them.

    Raises:
        SpecError: names what is no such values, or no value.
    """
    if not isinstance(values, Mapping):
        raise SpecError(f"set: must be values by dotted key, such as {{'trial.epochs': 10}}, got {values!r}")
    return [f"{key}={_json(key, value)}" for key, value in values.items()]


def _json(key: object, value: object) -> str:
    if not isinstance(key, str) or "=" in key:
        raise SpecError(f"set: must have dotted keys, got {key!r}")
    try:
        # YAML has no pairs of escapes, as JSON has for what is beyond U+FFFF.
        return printable(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError) as error:
        raise SpecError(f"set: {key}: must be what YAML can hold, got {value!r}") from error
