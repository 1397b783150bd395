"""The home of a study outside of its results folder: a folder on disk, or in a bucket (s3://, gs://)."""

import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from dks_study.spec.base import Problem
from dks_study.spec.urls import shown


class StorageError(Problem, RuntimeError):
    """A home cannot be used; the message is one line and holds no password."""


@dataclass(frozen=True)
class Home:
    """A folder of a file system: on disk, s3:// or gs://.

    Attributes:
        url: of the folder.
        option: with which it was given, for messages.
    """

    url: str
    option: str = "--storage"

    def within(self, name: str) -> "Home":
        """Return the folder `name` in this one."""
        base, mark, options = self.url.partition("?")
        return Home(f"{base.rstrip('/')}/{name}{mark}{options}", self.option)

    def read(self, name: str) -> bytes | None:
        """Return what the file `name` holds, or None if there is none."""
        files, root = _opened(self.url, self.option)
        path = str(root / name)
        if files.get_file_info(path).type is not FileType.File:
            return None
        with files.open_input_stream(path) as file:
            content: bytes = file.read()
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file; a crash leaves the old one or the new one."""
        files, root = _opened(self.url, self.option)
        target = root / name
        local = isinstance(files, LocalFileSystem)  # a bucket shows an object when it is whole
        path = str(target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex[:8]}") if local else target)
        if local:
            files.create_dir(str(target.parent), recursive=True)
        with files.open_output_stream(path) as file:
            file.write(content)
        if local:
            files.move(path, str(target))

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        files, root = _opened(self.url, self.option)
        if files.get_file_info(str(root / name)).type is FileType.File:
            files.delete_file(str(root / name))

    def clear(self) -> None:
        """Delete all files below."""
        for name in self.sizes():
            self.delete(name)

    def sizes(self) -> dict[str, int]:
        """Return the sizes in bytes of all files below, by their names from here."""
        files, root = _opened(self.url, self.option)
        found = files.get_file_info(FileSelector(str(root), recursive=True, allow_not_found=True))
        return {
            str(PurePosixPath(info.path).relative_to(root)): info.size for info in found if info.type is FileType.File
        }

    def push(self, folder: Path, name: str) -> None:
        """Copy a file of `folder` here."""
        self.write(name, (folder / name).read_bytes())

    def pull(self, folder: Path, *, without: tuple[str, ...] = ()) -> None:
        """Copy all files here into `folder`, but for those with a name in `without`."""
        for name in self.sizes():
            content = None if PurePosixPath(name).name in without else self.read(name)
            if content is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)


@cache
def _opened(url: str, option: str) -> tuple[FileSystem, PurePosixPath]:
    try:
        files, path = FileSystem.from_uri(url)
    except (ArrowException, OSError, ValueError) as error:
        said = str(error).splitlines()[0].replace(url, shown(url))  # which repeats it, keys and all
        hint = "" if "@" not in url else " (a / in a key is written %2F)"
        raise StorageError(f"{option} {shown(url)}: {said}{hint}") from error
    return files, PurePosixPath(path)


def home_of(storage: str, study: str) -> Home:
    """Return the home of a study in `storage`: a folder, or the URL of a bucket's folder.

    Raises:
        StorageError: if it is neither.
    """
    if ":/" in storage and "://" not in storage:
        raise StorageError(f"--storage: must be a folder, or a URL such as s3://bucket/folder, got {storage!r}")
    return Home(storage if "://" in storage else Path(storage).resolve().as_uri()).within(study)
