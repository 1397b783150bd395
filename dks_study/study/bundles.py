"""A study in one file: a zip with what is needed to check it and to draw its tables and figures.

It is an RO-Crate (crate.py). Two bundles of the same study are the same to the last byte, on any machine: its files are
stored as they are, in the order of their names, without times. What is read is checked against the hashes in it.
"""

import hashlib
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dks_study.spec.base import Problem
from dks_study.spec.reaching import reached
from dks_study.study.crate import METADATA, SHA256

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold
_NEEDED = ("provenance.json", "trials.parquet", "epochs.parquet")
_READABLE_FILE = 0o100644 << 16
_PLAIN = re.compile(r"(trials/[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*")
# What reading a zip, and JSON in it, raises.
UNREADABLE = (zipfile.BadZipFile, OSError, ValueError, TypeError, EOFError, NotImplementedError, RuntimeError)


class BundleError(Problem, ValueError):
    """A file is no bundle of a study, or a damaged one; the message is one line."""


def pack(files: Mapping[str, bytes], target: Path) -> None:
    """Write a bundle of `files`, by name; a crash leaves the old one or the new one.

    Raises:
        OSError: if it cannot be written.
    """
    temporary = target.with_name(target.name + ".tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as bundle:
            for name in sorted(files):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.external_attr, entry.create_system = _READABLE_FILE, 3
                bundle.writestr(entry, files[name])
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Give out a folder of a study: `path` if it is no file, else a scratch folder with what the bundle `path` holds.

    Raises:
        BundleError: if it is no bundle, or damaged.
        SpecError: if nobody may look there.
    """
    if not reached(path).is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dks_study-") as scratch:
        for name, content in _unpacked(path).items():
            (Path(scratch) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / name).write_bytes(content)
        try:
            yield Path(scratch)
        except Problem as error:  # nobody knows the scratch folder, which is gone by then
            error.args = tuple(str(each).replace(scratch, str(path)) for each in error.args)
            raise


def _unpacked(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as bundle:
            files = {name: bundle.read(name) for name in bundle.namelist() if _PLAIN.fullmatch(name)}
        parts = json.loads(files.pop(METADATA))["@graph"]
        hashes = {part["@id"]: part[SHA256] for part in parts if SHA256 in part}
    except KeyError as error:
        raise BundleError(f"{path}: must be a bundle of a study, with {METADATA} in it") from error
    except UNREADABLE as error:
        raise BundleError(f"{path}: is no bundle of a study, or damaged ({_line(error)}): get it anew") from error
    for name, known in hashes.items():
        if hashlib.sha256(files.get(name, b"")).hexdigest() != known:
            raise BundleError(f"{path}: is damaged: {name} must be what {METADATA} says of it: get it anew")
    if lacking := [name for name in _NEEDED if name not in hashes]:
        raise BundleError(f"{path}: must be a bundle of a study, with {lacking[0]} in it")
    return {name: files[name] for name in hashes}


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
