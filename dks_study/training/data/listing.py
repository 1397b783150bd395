"""What counts as data in folders ROOT/train/CLASS and ROOT/test/CLASS: nothing is labelled by accident.

- Hidden entries (a name that begins with a dot) and what systems leave behind (SYSTEM_FOLDERS) are no data.
- A class is a folder of train or test, or a link to one, and holds image files, or links to some. A folder inside of
  it is refused, and so are two classes that are one folder, as a link makes them: a loop can be neither entered nor
  labelled.
- Files with other endings than SUFFIXES are not read; they are counted.

Classes are sorted by name, and so are the files of a class.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dks_study.spec.base import printable
from dks_study.spec.data import DataSpec
from dks_study.training.data.error import DataError, told_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "lost+found")
TEST_FOLDERS = {"imagenet": ("val",), "image_folder": ("test", "val")}
TRAIN = "train"


@dataclass(frozen=True)
class Part:
    """The image files of one folder of classes.

    Attributes:
        name: of the folder, such as train.
        classes: their names.
        files: paths from the root, such as train/cat/001.png.
        labels: position of each file's class among `classes`.
        others: how many files are not read, by ending.
        links: how many of the files, and of the classes' folders, are links.
    """

    name: str
    classes: tuple[str, ...]
    files: list[str]
    labels: list[int]
    others: Counter[str]
    links: int


@dataclass(frozen=True)
class Listing:
    """What a root holds: `unread` are folders that could have been meant, such as val beside test."""

    root: Path
    pool: Part
    test: Part
    unread: tuple[str, ...]

    @property
    def parts(self) -> tuple[Part, Part]:
        """The pool and the test part."""
        return self.pool, self.test

    @property
    def files(self) -> list[str]:
        """The files of the pool and then those of the test part, from the root."""
        return [*self.pool.files, *self.test.files]

    def paths(self, part: Part) -> list[str]:
        """Return where the files of a part are."""
        return [os.path.join(self.root, file) for file in part.files]


def list_folder(folder: str, key: str) -> tuple[Path, Part]:
    """Find the image files in FOLDER/CLASS; return the folder around FOLDER, and the part that FOLDER is.

    `key` begins the message of an error, such as data.tests.blur.

    Raises:
        DataError: names what is missing, or may not be there.
    """
    path = Path(os.path.abspath(folder))
    if not _is_there(path, key):
        raise DataError(printable(f"{key}: must be a folder with images in folders of the classes, got {folder!r}"))
    with told_of(key):
        part = _part(path.parent, path.name)
        _refuse_one_folder_twice(path.parent, part)
    return path.parent, part


def list_images(spec: DataSpec) -> Listing:
    """Find the image files under the root of `spec`.

    Raises:
        DataError: names what is missing, or may not be there.
    """
    root = Path(os.path.abspath(spec.root or ""))
    tests = [name for name in TEST_FOLDERS[spec.name] if _is_there(root / name)]
    if not tests:
        wanted = " or ".join(f"{name}/CLASS" for name in TEST_FOLDERS[spec.name])
        raise _refusal(f"must hold folders train/CLASS and {wanted}, got {spec.root!r}")
    pool, test = _part(root, TRAIN), _part(root, tests[0])
    if pool.classes != test.classes:
        odd = sorted(set(pool.classes) ^ set(test.classes))
        raise _refusal(f"must have the same classes in train and {test.name}, got {odd[0]!r} in one")
    if len(pool.classes) < 2:
        raise _refusal(f"must have two classes at least, got {pool.classes[0]!r} alone in {spec.root!r}")
    _refuse_one_folder_twice(root, pool, test)
    return Listing(root, pool, test, tuple(tests[1:]))


def _is_there(folder: Path, key: str = "data.root") -> bool:
    """Whether there is such a folder; refuse one at which nobody may look, or whose name is too long."""
    try:
        return folder.is_dir()
    except OSError as error:
        raise DataError(
            printable(f"{key}: must be a folder that can be read, got {str(folder)!r}: {error.strerror}")
        ) from error


def _refusal(rule: str) -> DataError:
    return DataError(printable(f"data.root: {rule}"))


def _part(root: Path, name: str) -> Part:
    files, labels, links = list[str](), list[int](), 0
    is_class = {entry.name: _is_folder(entry) for entry in _entries(root / name, name)}
    folders = sorted(entry for entry in is_class if is_class[entry])
    for entry in is_class:
        if not os.path.exists(root / name / entry):
            raise _refusal(f"must hold images in train/CLASS, got {name}/{entry}, which is a link to nothing")
    pictures = [entry for entry in is_class if not is_class[entry] and entry.lower().endswith(SUFFIXES)]
    others = Counter({"beside the classes": len(pictures)} if pictures else {})
    for label, folder in enumerate(folders):
        found = _images(root, f"{name}/{folder}", others)
        if not found:
            raise _refusal(f"must hold images in {name}/CLASS, got none in {name}/{folder}")
        links += os.path.islink(root / name / folder) + sum(is_link for _, is_link in found)
        files += [f"{name}/{folder}/{file}" for file, _ in found]
        labels += [label] * len(found)
    if not folders:
        raise _refusal(f"must hold images in {name}/CLASS, got no folder of a class in {name}")
    return Part(name, tuple(folders), files, labels, others, links)


def _images(root: Path, folder: str, others: Counter[str]) -> list[tuple[str, bool]]:
    """Return name, and whether it is a link, of each image file in the folder of a class."""
    found = []
    for entry in _entries(root / folder, folder):
        if _is_folder(entry):
            to = f" (a link to {os.path.realpath(entry.path)})" if entry.is_symlink() else ""
            raise _refusal(f"must hold no folder inside of a class, got {folder}/{entry.name}{to}")
        if not entry.name.lower().endswith(SUFFIXES):
            others[os.path.splitext(entry.name)[1].lower() or "no ending"] += 1
        elif not os.path.isfile(entry.path):
            what = "a link to nothing" if entry.is_symlink() and not os.path.exists(entry.path) else "no file"
            raise _refusal(f"must hold image files, got {folder}/{entry.name}, which is {what}")
        else:
            found.append((entry.name, entry.is_symlink()))
    return sorted(found)


def _entries(path: Path, name: str) -> Iterator["os.DirEntry[str]"]:
    """Yield what is in a folder and may be data."""
    try:
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if not (entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS))
    except OSError as error:
        raise _refusal(f"must hold images in train/CLASS, got {name}: {error.strerror}") from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _refuse_one_folder_twice(root: Path, *parts: Part) -> None:
    """Refuse classes that a link makes one folder: its images would have two labels, or be tested on."""
    seen: dict[tuple[int, int], str] = {}
    for name in (f"{part.name}/{folder}" for part in parts for folder in part.classes):
        stat = (root / name).stat()
        other = seen.setdefault((stat.st_dev, stat.st_ino), name)
        if other != name:
            raise _refusal(f"must have a folder for each class, got {other} and {name}, which are one")
