"""Whether one may look at a path that somebody has given, before anybody asks what is there."""

import os
from pathlib import Path

from dks_study.spec.yamldoc import SpecError


def reached(path: Path, asked: str = "") -> Path:
    """Return `path` if it can be looked at and, should it be a folder, into; it need not be there.

    `asked` begins an error's message, such as "--results ". Python's own `is_file` and `exists` say that nothing is
    there, or raise, where rights lack or a name is too long.

    Raises:
        SpecError: names the path and why not.
    """
    try:
        os.stat(os.path.join(path, "."))  # the dot asks for the right to enter a folder, too
    except (FileNotFoundError, NotADirectoryError):  # a file is its own end
        _look_at_file(path, asked)
    except (OSError, ValueError) as error:
        raise _refusal(path, asked, error) from error
    return path


def _look_at_file(path: Path, asked: str) -> None:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _refusal(path, asked, error) from error


def _refusal(path: Path, asked: str, error: OSError | ValueError) -> SpecError:
    why = error.strerror if isinstance(error, OSError) else "no path holds such a character"
    return SpecError(f"{asked}{path}: {why}")
