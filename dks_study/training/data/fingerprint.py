"""What the images and labels of a data set are, as a small value: whether they change under a study is seen by it.

Content decides. The files of a folder are hashed once and again when size, times or inode have changed
(remembered.py), so a copy of the folder, or the same files with other times, has the same fingerprint. Of any other set
the arrays are hashed as they are in memory.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from dks_study.spec.base import printable
from dks_study.spec.data import FOLDERS, DataSpec
from dks_study.training.data.decoding import complaint_about
from dks_study.training.data.error import DataError, told_of
from dks_study.training.data.further import folders_of, key_of
from dks_study.training.data.listing import list_images
from dks_study.training.data.loading import array_contents, further_contents
from dks_study.training.data.remembered import SETTLED_S, Known, remembered

Contents = Mapping[str, str]  # hash by file, as train/cat/001.png, or by array, as train images
HASH_DIGITS, DIGITS = 20, 20
T = TypeVar("T")
PORTION = 256  # files that a thread takes at a time
MOST_THREADS = 16
TOLD_EVERY_S = 10.0
SHOWN = 3


@dataclass(frozen=True)
class Fingerprint:
    """Of a data set: 20 hex digits that depend on all of its contents, and how many files or arrays these are."""

    digest: str
    entries: int


def fingerprint(contents: Contents) -> Fingerprint:
    """Return the fingerprint of contents; their order is immaterial."""
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(f"{len(os.fsencode(name))}:".encode() + os.fsencode(name) + contents[name].encode())
    return Fingerprint(digest.hexdigest()[:DIGITS], len(contents))


def contents_of(spec: DataSpec, note: Callable[[str], None] = lambda _: None) -> Contents:
    """Return what the data set holds; `note` is told every ten seconds how far reading has come.

    Files that are to be decoded on the fly are opened, too, when they are seen for the first time: none must turn out
    to be unreadable hours later.

    Raises:
        DataError: if the data cannot be had.
    """
    if spec.name in FOLDERS:
        listing = list_images(spec)
        own = file_contents(listing.root, listing.files, spec.on_disk, note)
    else:
        own = array_contents(spec)
    further = further_contents(spec)
    for name, folder in folders_of(spec).items():
        with told_of(key_of(name)):
            hashes = file_contents(folder.path, folder.files, spec.on_disk, note)
        further |= {f"test_{name}/{file}": digest for file, digest in hashes.items()}
    return {**own, **further}


def file_contents(
    root: Path, files: Sequence[str], opened: bool, note: Callable[[str], None] = lambda _: None
) -> Contents:
    """Return the hash of each file in `root`; with `opened`, refuse files that are no images that can be read.

    Raises:
        DataError: names the first of them, and says how many there are.
    """
    complaints, settled_ns = list[str](), time.time_ns() - SETTLED_S * 1e9
    with remembered(root) as known:
        stats = {name: _stat(os.path.join(root, name)) for name in files}
        for name in known.keys() - stats.keys():
            del known[name]
        good = {name: each for name, each in known.items() if each.is_of(stats[name]) and each.opened >= opened}
        hashes = {name: each.hash for name, each in good.items()}
        new = [name for name in stats if name not in good]
        for name, each, complaint in _read(root, new, opened, note):
            hashes[name] = each.hash
            if each.changed_ns < settled_ns:
                known[name] = each
            if complaint:
                complaints.append(complaint)
    if complaints:
        more = f", and {len(complaints) - 1:,} more are of no use" if len(complaints) > 1 else ""
        raise DataError(complaints[0] + more)
    return {name: hashes[name] for name in stats}


def _read(
    root: Path, names: list[str], opened: bool, note: Callable[[str], None]
) -> Iterator[tuple[str, Known, str | None]]:
    """Yield what each file is, and the complaint about it if it was opened and is of no use; in parallel."""
    told_s = time.monotonic()
    looks = in_threads(lambda name: _look(os.path.join(root, name), opened), names)
    for done, (name, (each, complaint)) in enumerate(zip(names, looks, strict=True), start=1):
        yield name, each, complaint
        if time.monotonic() - told_s > TOLD_EVERY_S:
            told_s = time.monotonic()
            note(f"Read {done:,} of {len(names):,} new or changed images in {root}")


def in_threads(look: Callable[[str], T], names: list[str]) -> Iterator[T]:
    """Yield what `look` says of each name, in their order; no thread goes on when who waits is interrupted."""
    portions = [names[start : start + PORTION] for start in range(0, len(names), PORTION)]
    threads = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))
    try:
        for some in threads.map(lambda portion: [look(name) for name in portion], portions):
            yield from some
    finally:
        threads.shutdown(cancel_futures=True)


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _look(path: str, opened: bool) -> tuple[Known, str | None]:
    stat = _stat(path)  # before it is read: what changes meanwhile is read again next time
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    complaint = complaint_about(path, content) if opened else None
    hash_, sound = hashlib.sha256(content).hexdigest()[:HASH_DIGITS], opened and complaint is None
    return Known(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, hash_, sound), complaint


def _unreadable(path: str, error: OSError) -> DataError:
    return DataError(f"data.root: must hold images that may be read, got {printable(path)} ({error.strerror})")


def differences(before: Contents, now: Contents) -> str:
    """Return in words what has appeared, vanished and changed; "" if nothing has."""
    kinds = {
        "vanished": (before.keys() - now.keys(), before),
        "appeared": (now.keys() - before.keys(), now),
        "changed": ({name for name in before.keys() & now.keys() if before[name] != now[name]}, now),
    }
    return "; ".join(f"{kind}: {_summed_up(names, among)}" for kind, (names, among) in kinds.items() if names)


def _summed_up(names: set[str], among: Contents) -> str:
    """Name a few files by their folder: `all 12 of train/cat, 6 of 12 of test/dog (001.png, 002.png, ...)`."""
    whole = _by_folder(among)
    told = []
    for folder, some in sorted(_by_folder(names).items()):
        if folder == ".":  # arrays
            told += some
        elif len(some) == len(whole[folder]):
            told.append(f"all {len(some):,} of {folder}")
        else:
            few = ", ".join([*some[:SHOWN], *(["..."] if len(some) > SHOWN else [])])
            told.append(f"{len(some):,} of {folder} ({few})")
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return printable(", ".join(told[:SHOWN]) + more)


def _by_folder(names: Iterable[str]) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = {}
    for name in sorted(names):
        path = PurePosixPath(name)
        folders.setdefault(str(path.parent), []).append(path.name)
    return folders
