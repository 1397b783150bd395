"""Standard output and error that cannot end a study: a reader that has gone, a full disk, letters that do not fit."""

import codecs
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, ClassVar, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_ERRORS = "dks_study"
_NO_READER = (errno.EPIPE, errno.EIO)  # a pipe's end, a terminal: who has gone does not miss a line


def outlive_the_reader() -> None:
    """Let what cannot be written be lost without an error, on standard output and on standard error.

    A closed pipe, a terminal that has gone, a full disk: each later line is tried again. Letters that the encoding
    lacks are written by their numbers, and bytes of names that were never letters as they are.
    """
    codecs.register_error(_ERRORS, _written)
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # was closed: a file of ours would get its number
        os.set_inheritable(number, True)
    os.close(number)
    _Lasting.stdout, errors = _Lasting(1, "w", closefd=False), _Lasting(2, "w", closefd=False)
    sys.stdout, sys.stderr = _lasting(sys.stdout, _Lasting.stdout), _lasting(sys.stderr, errors)


def lost() -> str:
    """Return why somebody who reads standard output misses what was written; "": nothing, or it has been forgotten."""
    stdout = _Lasting.stdout
    return stdout.why if stdout else ""


def forget_losses() -> None:
    """Let what could not be written be no loss: it is kept elsewhere."""
    if _Lasting.stdout:
        _Lasting.stdout.why = ""


class _Lasting(io.FileIO):
    stdout: ClassVar["_Lasting | None"] = None
    why = ""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write what can be written and say that all was."""
        try:
            return super().write(data) or len(memoryview(data))
        except OSError as error:
            self.why = self.why if error.errno in _NO_READER else error.strerror or str(error)
            return len(memoryview(data))


def _written(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def _lasting(stream: TextIO | None, raw: _Lasting) -> TextIO:
    encoding = stream.encoding if stream else "utf-8"
    # By lines: what ends the process from C++ leaves nothing in a buffer behind.
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, _ERRORS, line_buffering=True)
