"""A trial that ran out of memory, trained anew with each batch in more parts: what is remembered of that in its folder.

The same batches, so the same gradients up to batch-norm statistics, which are those of the parts.
"""

import json
from pathlib import Path

from dks_study.ledger import OUTCOME, write_whole
from dks_study.spec import TrialSpec

_FILE = "parts.json"


def in_parts(trial: TrialSpec, parts: int) -> TrialSpec:
    """Return `trial` with its batches in `parts`."""
    return trial.model_copy(update={"optimiser": trial.optimiser.model_copy(update={"accumulate": parts})})


def most_parts(trial: TrialSpec) -> int:
    """Return the largest number of parts of a batch with at least two images in each."""
    return trial.optimiser.batch_size // max(1, trial.resources.workers) // 2


def train_in_parts(folder: Path, parts: int) -> str:
    """Let the trial in `folder` be trained from its first epoch, in `parts`; return the file that remembers it."""
    # The outcome first: after a crash before the end the trial runs out of memory again, and no number is skipped.
    for name in (OUTCOME, "last.pt", "best.pt"):
        (folder / name).unlink(missing_ok=True)
    write_whole(folder / _FILE, json.dumps(parts))
    return _FILE


def read_parts(folder: Path) -> int | None:
    """Return in how many parts the trial in `folder` is trained after having run out of memory; None: it has not."""
    try:
        return int(json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
