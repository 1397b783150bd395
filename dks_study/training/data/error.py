"""The one error of everything that has to do with data."""

from collections.abc import Iterator
from contextlib import contextmanager

from dks_study.spec.base import Problem


class DataError(Problem, ValueError):
    """The data cannot be had; the message is one line that names the key to change."""


@contextmanager
def told_of(key: str) -> Iterator[None]:
    """Let what is said meanwhile of `data.root` be said of `key`, such as data.tests.blur, which is read as that is."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).replace("data.root", key, 1)) from error
