"""Where the studies are from which trials are adopted: beside the study, and where --reuse says."""

from pathlib import Path

from dks_study.spec.base import Problem
from dks_study.spec.urls import shown
from dks_study.study.donors import studies_in
from dks_study.study.failures import first_line
from dks_study.study.pulling import pulled


class ReuseError(Problem, ValueError):
    """There is nothing to take trials from; the message is one line."""


def reused(results: Path, reuse: bool | str | Path) -> tuple[Path, ...]:
    """Return the folders of the studies from which trials are adopted: those in `results`, and those at `reuse`.

    Raises:
        ReuseError: if there are none at `reuse`, a folder or the URL of a bucket's folder.
    """
    if reuse is False:
        return ()
    return (*studies_in(results), *([] if reuse is True else _donors_at(str(reuse))))


def _donors_at(place: str) -> list[Path]:
    try:
        found = studies_in(pulled(place) if "://" in place else Path(place))
    except OSError as error:
        raise ReuseError(f"--reuse {shown(place)}: {first_line(error)}") from error
    if not found:
        rule = "must be the folder of a study, or hold some; there is no ledger.jsonl"
        raise ReuseError(f"--reuse {shown(place)}: {rule}")
    return found
