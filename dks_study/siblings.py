"""Other results of the same question: a changed description gets a folder of its own, which must be no surprise."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dks_study.provenance import PROVENANCE
from dks_study.study_spec import UNHASHED, StudySpec

_SHOWN = 3


def other_results(study: StudySpec, folder: Path) -> str | None:
    """Return a note on the results beside `folder` whose description is nearest to `study`; None if there are none."""
    mine = _flat(study.model_dump(mode="json", by_alias=True, exclude=UNHASHED))
    others = {}
    for path in sorted(folder.parent.glob(f"{study.name}-*/{PROVENANCE}")):
        if path.parent != folder and (theirs := _read(path)):
            keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
            others[path.parent] = [f"{key} {theirs.get(key)!r} there, {mine.get(key)!r} here" for key in keys]
    if not others:
        return None
    nearest = min(others, key=lambda other: len(others[other]))
    keys = others[nearest]
    more = [f"{len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
    return f"Note: {nearest} has results of this question by another description: {'; '.join(keys[:_SHOWN] + more)}."


def _read(path: Path) -> dict[str, object]:
    try:
        resolved = json.loads(path.read_text(encoding="utf-8"))["resolved"]
        return _flat({key: value for key, value in resolved.items() if key not in UNHASHED})
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Return the values of nested sections by dotted key."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {prefix + key: value}
    return flat
