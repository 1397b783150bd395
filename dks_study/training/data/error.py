"""The one error of everything that has to do with data, and how names of files are shown."""

from dks_study.spec.base import Problem


class DataError(Problem, ValueError):
    """The data cannot be had; the message is one line that names the key to change."""


def printable(text: str) -> str:
    """Return `text` with everything escaped that is not for printing: newlines, and bytes that are no UTF-8."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
