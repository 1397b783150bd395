"""`--check-data`: every image of a data set decoded and compared, and all that cannot be used named at once."""

import hashlib
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from dks_study.spec.base import printable
from dks_study.spec.data import FOLDERS, DataSpec, is_callable
from dks_study.training.data.checking import Found, found, hashes_in_memory
from dks_study.training.data.decoding import read_with_mode
from dks_study.training.data.error import DataError
from dks_study.training.data.fingerprint import in_threads
from dks_study.training.data.further import folders_of
from dks_study.training.data.listing import list_images
from dks_study.training.data.loading import HASH_BYTES, read_and_split


@dataclass(frozen=True)
class Examination:
    """What a data set was found to hold.

    Attributes:
        found: images by split and class, and exact copies by pixels.
        modes: how many images there are of each mode (Pillow's word), as the files have it.
        sizes: how many of each (width, height).
        complaints: about each file that cannot be used.
        doubtful: files that are read, and what Pillow warns of.
    """

    found: Found
    modes: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


_heard = threading.local()  # `words`: what Pillow warns of while a thread looks at a file


@dataclass(frozen=True)
class _Seen:
    hash: bytes
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    complaint: str | None = None
    doubt: str | None = None


def examine(spec: DataSpec, told: Callable[[int, int], None]) -> Examination:
    """Decode every image of the data set of `spec`, in parallel; `told` hears how many of how many are done.

    Raises:
        DataError: if there are no images to look at.
    """
    if spec.name not in FOLDERS:
        read = read_and_split(spec.as_read)
        channels, height, width = read.data.image_shape
        hashes = hashes_in_memory(read)
        images = sum(map(len, hashes.values()))
        told(images, images)
        twice = found(read, hashes)
        return Examination(twice, {f"{channels} x uint8": images}, {(width, height): images})
    files = {name: place for name, place in spec.tests.items() if not is_callable(place)}  # arrays have no files
    nothing = {"in_memory": False, "image_pixels": 1, "tests": files}  # so that nothing is decoded
    labels = read_and_split(spec.model_copy(update=nothing).as_read)
    listing = labels.listing or list_images(spec)
    paths = {"pool": listing.paths(listing.pool), "test": listing.paths(listing.test)}
    paths |= {f"test_{name}": [path for path, _ in each.samples] for name, each in folders_of(spec).items()}
    with _hearing_warnings():
        seen = list(_all_seen([path for some in paths.values() for path in some], told))
    each_hash = iter(each.hash for each in seen)
    good = [each for each in seen if not each.complaint]
    return Examination(
        found(labels, {name: [next(each_hash) for _ in some] for name, some in paths.items()}),
        Counter(each.mode for each in good),
        Counter(each.size for each in good),
        tuple(each.complaint for each in seen if each.complaint),
        tuple(each.doubt for each in good if each.doubt),
    )


@contextmanager
def _hearing_warnings() -> Iterator[None]:
    """Note Pillow's warnings with the file at which the thread that has them looks; any other goes its way."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", module=r"PIL\.")
        others = warnings.showwarning

        def hear(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            words = getattr(_heard, "words", None)
            if words is None:
                others(message, category, filename, lineno, file, line)
            else:
                words.append(" ".join(str(message).split()).rstrip("."))

        warnings.showwarning = hear
        yield


def _all_seen(paths: list[str], told: Callable[[int, int], None]) -> Iterator[_Seen]:
    for done, each in enumerate(in_threads(_look_at, paths), start=1):
        told(done, len(paths))
        yield each


def _look_at(path: str) -> _Seen:
    _heard.words = words = list[str]()
    try:
        picture, mode = read_with_mode(path)
    except DataError as error:
        return _Seen(hashlib.sha256(path.encode(errors="surrogateescape")).digest()[:HASH_BYTES], complaint=str(error))
    finally:
        del _heard.words
    pixels = hashlib.sha256(f"{picture.size}".encode() + picture.tobytes())
    doubt = f"{printable(path)} ({'; '.join(dict.fromkeys(words))})" if words else None
    return _Seen(pixels.digest()[:HASH_BYTES], mode, picture.size, doubt=doubt)
