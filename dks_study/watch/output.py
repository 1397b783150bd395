"""Standard output and error that cannot end a study: a reader that has gone, a full disk, letters that do not fit."""

import codecs
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_ERRORS = "dks_study"


def outlive_the_reader() -> None:
    """Let what cannot be written be lost without an error, on standard output and on standard error.

    A closed pipe, a terminal that has gone, a full disk: each later line is tried again. Letters that the encoding
    lacks are written by their numbers, and bytes of names that were never letters as they are.
    """
    codecs.register_error(_ERRORS, _written)
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # was closed: a file of ours would get its number
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout, sys.stderr = _lasting(sys.stdout, 1), _lasting(sys.stderr, 2)


class _Lasting(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        """Write what can be written and say that all was."""
        try:
            return super().write(data) or len(memoryview(data))
        except OSError:
            return len(memoryview(data))


def _written(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def _lasting(stream: TextIO | None, number: int) -> TextIO:
    encoding = stream.encoding if stream else "utf-8"
    raw = _Lasting(number, "w", closefd=False)
    # By lines: what ends the process from C++ leaves nothing in a buffer behind.
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, _ERRORS, line_buffering=True)
