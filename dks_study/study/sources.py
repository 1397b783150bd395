"""Which source files a module runs, and a hash of them: whether code that can change numbers has changed.

Imports are read, not executed, wherever they stand in a file, so one that is made inside of a function counts as well.
What an import statement does not name (importlib.import_module, a file that code opens) is not seen.
"""

import ast
import hashlib
import importlib.util
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.machinery import all_suffixes
from pathlib import Path

DIGITS = 20
# Everything that runs between a TrialSpec and the numbers of its epochs and outcome, and what decides which trials a
# study runs. Engine, watch and analysis are not reached from there: they change no number.
TRIALS, PLANS = ("dks_study.study.trial",), ("dks_study.study.planner", "dks_study.study.search")


class UnknownSourceError(ValueError):
    """A module has no source file that can be read."""


@cache
def code_of(modules: tuple[str, ...]) -> str:
    """Return 20 hex digits that depend on the source files of `modules`, as they are when first asked.

    Raises:
        UnknownSourceError: if one of them has none.
    """
    digest = hashlib.sha256()
    files = {name: path for module in modules for name, path in sources(module).items()}
    files.pop("dks_study", None)  # the front door computes nothing, and changes with every version
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:DIGITS]


def sources(module: str) -> dict[str, Path]:
    """Return, by the names of their modules, the files that `module` runs: its own and, of what it imports, the rest
    of its package, and modules that lie beside it where that is no place for installed packages.

    Raises:
        UnknownSourceError: if it has none.
    """
    top = module.partition(".")[0]
    folder = _folder_of(top)
    everything = folder not in {Path(path).resolve() for path in sysconfig.get_paths().values()}
    found, asked, left = dict[str, Path](), set[str](), [module]
    while left:
        name = left.pop()
        if name in asked or not (everything or name.partition(".")[0] == top):
            continue
        asked.add(name)
        path = _file(folder, name)
        if path is None:
            continue
        found[name] = path
        left += _parents(name)
        if path.suffix == ".py":
            package = name if path.stem == "__init__" else name.rpartition(".")[0]
            try:
                left += _imported(path.read_bytes(), package)
            except SyntaxError as error:
                raise UnknownSourceError(f"{path}: {error.msg}") from error
    if module not in found:
        raise UnknownSourceError(f"{module} has no source file that can be read")
    return found


def _folder_of(top: str) -> Path:
    """Return the folder that the module or package `top` lies in; nothing is imported."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError) as error:
        raise UnknownSourceError(f"{top}: {error}") from error
    package = list(spec.submodule_search_locations or ()) if spec else []
    if spec is None or not (package or spec.has_location):
        raise UnknownSourceError(f"{top} has no source file that can be read")
    return Path(package[0] if package else str(spec.origin)).resolve().parent


def _file(folder: Path, name: str) -> Path | None:
    base = folder.joinpath(*name.split("."))
    places = [place for suffix in all_suffixes() for place in (base / f"__init__{suffix}", Path(f"{base}{suffix}"))]
    return next((place for place in places if place.is_file()), None)


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name


@cache  # a study asks for several hashes, and most files are in each
def _imported(content: bytes, package: str) -> tuple[str, ...]:
    """Return what might be a module among the names that a file imports."""
    names = list[str]()
    for statement in _run(ast.parse(content)):
        if isinstance(statement, ast.Import):
            names += (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            above = package.rsplit(".", statement.level - 1)[0] if statement.level > 1 else package
            base = ".".join(filter(None, [above if statement.level else "", statement.module or ""]))
            names += (base, *(f"{base}.{alias.name}" for alias in statement.names))
    return tuple(names)


def _run(block: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements of a block, at any depth, but what stands there for type checkers."""
    for_types = isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
    for part in ("orelse",) if for_types else ("body", "handlers", "cases", "orelse", "finalbody"):
        for statement in getattr(block, part, ()):
            yield statement
            yield from _run(statement)
