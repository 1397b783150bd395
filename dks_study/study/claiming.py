"""What a command may write over: what it has written before, and nothing else."""

import errno
import json
import os
from pathlib import Path


def claimed(path: Path, ending: str, told: str, keys: set[str]) -> Path | None:
    """Return the empty file `path` + `ending`, made to become `path`; None: what is there was not written for that.

    It was if `path` + `told`, a file of JSON, has all of `keys`.

    Raises:
        OSError: if no file can be written there.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    teller, temporary = (path.with_name(f"{path.name}{end}") for end in (told, ending))
    if (path.exists() or teller.exists()) and not _says(teller, keys):
        return None
    temporary.touch()
    return temporary


def _says(path: Path, keys: set[str]) -> bool:
    try:
        return set(json.loads(path.read_text(encoding="utf-8"))) >= keys
    except (OSError, ValueError, TypeError, RecursionError):
        return False
