"""A study of which the results alone are kept, as those in analysis/results: no ledger, and no trials' folders."""

from dataclasses import dataclass
from pathlib import Path

from dks_study.spec.base import Problem
from dks_study.study.ledger import LOST

TRIALS = "trials.parquet"


class KeptError(Problem, ValueError):
    """The kept results cannot be read; the message is one line."""


@dataclass(frozen=True)
class Kept:
    """How many trials have ended there, and how many of them without a result."""

    folder: Path
    trials: int
    lost: int

    @property
    def in_words(self) -> str:
        """What there is, in a few words."""
        lost = f", {self.lost} without a result" if self.lost else ""
        return f"kept: the results of {self.trials} trials{lost}"


def read_kept(folder: Path) -> Kept | None:
    """Return what is kept in `folder`; None: it holds more than results, or none.

    Raises:
        KeptError: if the results are damaged.
    """
    if (folder / "ledger.jsonl").exists() or not (folder / TRIALS).is_file():
        return None
    from pyarrow import parquet  # a third of a second

    try:
        table = parquet.read_table(folder / TRIALS, columns=["trial", "status"])
        status_of = dict(zip(*(table.column(name).to_pylist() for name in ("trial", "status")), strict=True))
    except (OSError, ValueError, LookupError) as error:  # pyarrow's own are among them
        raise KeptError(f"{folder / TRIALS}: is damaged: put a copy back") from error
    return Kept(folder, len(status_of), sum(status in LOST for status in status_of.values()))
