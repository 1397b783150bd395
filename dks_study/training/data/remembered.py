"""Hashes of files, remembered from one session to the next in the user's cache folder, by size, times and inode.

Where that cannot be written nothing is remembered, and every session reads the files anew.
"""

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

SETTLED_S = 2.0  # a file may change again within the tick of the file system's clock in which it was read


class Known(NamedTuple):
    """What was seen of a file, and when it had changed last."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    hash: str
    opened: bool  # was it found to be an image that can be read?

    def is_of(self, stat: os.stat_result) -> bool:
        """Is the file still the one that was seen?"""
        return self[:4] == (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@contextmanager
def remembered(root: Path) -> Iterator[dict[str, Known]]:
    """Give out what is known of the files below `root`, by name, and remember what it has become.

    Processes take turns: what one of a node has hashed the others need not.
    """
    with suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
    path = cache_folder() / f"{hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:20]}.json"
    with _turn(path):
        before = _read(path)
        known = dict(before)
        try:
            yield known
        finally:  # interrupted after an hour of reading: that hour is not lost
            if known != before:
                with suppress(OSError):
                    _write(path, known)


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dks_study")


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    try:
        file = path.with_suffix(".lock").open("a")
    except OSError:
        yield
        return
    with file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> dict[str, Known]:
    try:
        return {name: Known(*fields) for name, fields in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none yet, or damaged
        return {}


def _write(path: Path, known: Mapping[str, Known]) -> None:
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
