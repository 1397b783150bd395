"""Where the files are that come with the package: search spaces, profiles, recipes, a teacher, results, a citation."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel holds them inside the package, a checkout beside it.
HOME = _PACKAGE if (_PACKAGE / "search_spaces").is_dir() else _PACKAGE.parent
SPACES = HOME / "search_spaces"
CITATION = HOME / "CITATION.cff"
KEPT = HOME / "analysis" / "results"  # studies with their results; a wheel has none


def found(path: str) -> Path:
    """Return `path` as it is if there is such a file; else, if one of that name ships, that one."""
    given, ours = Path(path), HOME / path
    return ours if not given.exists() and ours.is_file() else given
