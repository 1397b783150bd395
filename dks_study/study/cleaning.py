"""What checkpoints and scratch of a study take, said and freed: dks-study clean FOLDER.

Checkpoints of finished trials go, all of them or all but confirmed ones (--keep-best), and what Ray has left in the
scratch folder. Predictions of finished trials go where that is asked for (--predictions): what the report says of them
can then be had again by training alone. Ledger, descriptions, epochs, tables and the checkpoints of unfinished trials,
from which these go on, always stay.
"""

import fcntl
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dks_study.spec.base import Problem
from dks_study.spec.options import OptionParser
from dks_study.study.cell import Cell
from dks_study.study.holder import LOCK, holder_of
from dks_study.study.ledger import read_ledger
from dks_study.study.predictions import FILE as PREDICTIONS
from dks_study.study.results import load_study_of
from dks_study.study.storage import CHECKPOINTS, SCRATCH

MIB = 2**20


class CleanError(Problem, RuntimeError):
    """A study cannot be cleaned; the message is one line."""


@dataclass(frozen=True)
class Waste:
    """What can go.

    Attributes:
        paths: files of finished trials, or the scratch folder.
        taken: bytes that are free once it is gone.
        shared: bytes that other studies hold as well (hard links of adopted trials).
    """

    paths: tuple[Path, ...]
    taken: int
    shared: int


def main(words: Sequence[str]) -> int:
    """Run the command line; return 0.

    Raises:
        Problem: one line, if the folder is no study, or it is running.
    """
    parser = OptionParser(prog="dks-study clean", description="Free what checkpoints and scratch of a study take.")
    parser.add_argument("folder", metavar="FOLDER", help="of the study")
    parser.add_argument("--keep-best", action="store_true", help="keep checkpoints of confirmed trials, to export them")
    parser.add_argument("--predictions", action="store_true", help="free the predictions on test images, too")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, free nothing")
    options = parser.parse_args(list(words))
    folder = Path(options.folder)
    study = load_study_of(folder)
    with _nobody_else(folder, dry_run=options.dry_run):
        finished = [record.cell for record in read_ledger(folder / "ledger.jsonl", study)]
        waste = {"checkpoints of finished trials": checkpoints_of(folder, finished, keep_best=options.keep_best)}
        waste |= {"predictions of finished trials": predictions_of(folder, finished)} if options.predictions else {}
        waste |= {"scratch": scratch_of(folder)}
        if not options.dry_run:
            _free([path for each in waste.values() for path in each.paths])
    verb = "would be freed" if options.dry_run else "freed"
    for name, each in waste.items():
        shared = f" ({each.shared / MIB:.1f} MiB more are held by other studies, too)" if each.shared else ""
        print(f"{name}: {each.taken / MIB:.1f} MiB {verb}{shared}")
    return 0


def _free(paths: Iterable[Path]) -> None:
    """Delete files, folders, and links without what they lead to."""
    try:
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise CleanError(f"{error.filename}: cannot be deleted: {error.strerror}") from error


def checkpoints_of(folder: Path, finished: Sequence[Cell], *, keep_best: bool) -> Waste:
    """Return the checkpoints of `finished` trials; with `keep_best` without those of confirmed ones."""
    going = [cell.id for cell in finished if not (keep_best and cell.phase == "confirm")]
    paths = [folder / "trials" / trial / name for trial in going for name in CHECKPOINTS]
    return _waste(tuple(path for path in paths if path.is_file()))


def predictions_of(folder: Path, finished: Sequence[Cell]) -> Waste:
    """Return the predictions of `finished` trials."""
    paths = [folder / "trials" / cell.id / PREDICTIONS for cell in finished]
    return _waste(tuple(path for path in paths if path.is_file()))


def scratch_of(folder: Path) -> Waste:
    """Return what a session that was killed has left in the scratch folder."""
    scratch = folder / SCRATCH
    if scratch.is_symlink():  # what it leads to is not ours to free
        return Waste((scratch,), 0, 0)
    held = _waste(tuple(path for path in scratch.rglob("*") if path.is_file() and not path.is_symlink()))
    return Waste((scratch,) if scratch.exists() else (), held.taken, held.shared)


def _waste(paths: tuple[Path, ...]) -> Waste:
    names: dict[int, list[Path]] = {}
    for path in paths:  # last.pt and best.pt may be one file
        names.setdefault(path.lstat().st_ino, []).append(path)
    stats = [(paths[0].lstat(), len(paths)) for paths in names.values()]
    shared = sum(stat.st_size for stat, mine in stats if stat.st_nlink > mine)
    return Waste(paths, sum(stat.st_size for stat, _ in stats) - shared, shared)


@contextmanager
def _nobody_else(folder: Path, *, dry_run: bool) -> Iterator[None]:
    """Hold the study's lock; what is written in it, who ran the study last, stays. A dry run writes nothing at all."""
    path = folder / LOCK
    if dry_run and not path.exists():
        yield
        return
    try:
        file = path.open("r" if dry_run else "a")
    except OSError as error:
        raise CleanError(f"{path}: cannot be {'read' if dry_run else 'written'}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if dry_run else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CleanError(f"{folder}: this study is being run by {holder_of(folder)[0]}") from None
        yield
