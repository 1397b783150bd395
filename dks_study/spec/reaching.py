"""Whether a path that somebody has given is meant as it stands, and whether one may look at it."""

import os
import re
from pathlib import Path

from dks_study.spec.yamldoc import SpecError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")  # a Path has one slash of it


def not_here(path: str | Path) -> str:
    """Return the rule that a path breaks of which a folder of that very name would be made by mistake; "": none."""
    if _URL.match(str(path)):
        return "must be a folder of this machine, and no URL"
    return "must be written out, as no shell has read its ~" if str(path).startswith("~") else ""


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
