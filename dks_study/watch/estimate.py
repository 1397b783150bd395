"""How long the rest of a study takes, learned from how long its own trials took.

A pace is the seconds that an epoch of a trial takes with all that belongs to it, by arm and phase: validation, the
test at the end. The start of processes, which train one trial after another, belongs to none.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from dks_study.spec.study import StudySpec
from dks_study.study.cell import Cell, Phase
from dks_study.study.ledger import LedgerError, Outcome, read_ledger
from dks_study.study.planner import PHASES
from dks_study.study.provenance import ProvenanceError, hardware, read_provenance

Kind = tuple[str, Phase]  # arm and phase
Pace = Mapping[Kind, Sequence[float]]  # seconds per planned epoch of each of the latest trials
LATEST = 6  # so many trials of a kind, or starts of trials: a machine may get busier, a cluster smaller
STUDIES_READ = 5


class Estimate:
    """Learns the pace of a study; what another thread may read of it is replaced, never changed."""

    def __init__(self, earlier: Pace | None = None) -> None:
        """Begin with the pace of `earlier` studies: it tells how arms differ, this one's trials how fast it runs."""
        self._earlier = earlier or {}
        self._own: Pace = {}
        self._now: Pace = {}  # of trials that are running
        self._first_seen: dict[str, tuple[int, float]] = {}  # id of a running trial -> its first epoch seen, and when
        self._at_once: tuple[int, ...] = ()

    def started(self, running: int) -> None:
        """Learn that a trial has begun, and how many are `running` now."""
        self._at_once = (*self._at_once[1 - LATEST :], running)

    def epoch(self, cell: Cell, done: int, at_s: float) -> None:
        """Learn that a trial has done so many epochs `at_s` seconds on some clock."""
        first, then = self._first_seen.setdefault(cell.id, (done, at_s))
        if done > first:
            self._now = {**self._now, (cell.arm, cell.phase): ((at_s - then) / (done - first),)}

    def settled(self, cell: Cell, outcome: Outcome) -> None:
        """Learn how long a trial took that has ended."""
        self._first_seen.pop(cell.id, None)
        self._own = with_trial(self._own, cell, outcome)

    def seconds_left(self, to_come: Mapping[Kind, float], running: Iterable[tuple[Kind, int]]) -> float | None:
        """Return how long the rest takes, or None if too little is known: no estimate is better than a wild one.

        Args:
            to_come: epochs of the trials that have not begun, by kind.
            running: kind of each running trial, and its epochs that are still to come.
        """
        at_once = max(self._at_once, default=0)
        waiting = [(self._pace(kind), epochs) for kind, epochs in to_come.items() if epochs]
        begun = [(self._pace(kind), epochs) for kind, epochs in running]
        rest = [pace * epochs for pace, epochs in (*waiting, *begun) if pace is not None]
        if len(rest) < len(waiting) + len(begun) or (waiting and not at_once):
            return None
        longest = max(rest[len(waiting) :], default=0.0)  # no trial is shared by several processes
        return max(sum(rest) / max(1, at_once), longest)

    def _pace(self, kind: Kind) -> float | None:
        """Return the seconds per epoch of a kind; None if neither it nor, by way of earlier studies, any is known."""
        here = self._seen(kind)
        before = mean_pace(self._earlier, kind)
        if here is not None or before is None:
            return here
        both = [(self._seen(each), mean_pace(self._earlier, each)) for each in (*self._own, *self._now)]
        ratios = [now / then for now, then in both if now and then]
        return before * fmean(ratios) if ratios else None

    def _seen(self, kind: Kind) -> float | None:
        whole = mean_pace(self._own, kind)
        return mean_pace(self._now, kind) if whole is None else whole


def mean_pace(pace: Pace, kind: Kind) -> float | None:
    """Return the mean pace of a kind; that of the arm's other phases is better than nothing."""
    arm, phase = kind
    latest = next((known for each in (phase, *PHASES) if (known := pace.get((arm, each)))), None)
    return fmean(latest) if latest else None


def with_trial(pace: Pace, cell: Cell, outcome: Outcome) -> Pace:
    """Return `pace` with one more trial, if it is known how long that took."""
    if outcome.seconds is None or outcome.lost:
        return pace
    kind = (cell.arm, cell.phase)
    return {**pace, kind: (*pace.get(kind, ())[1 - LATEST :], outcome.seconds / cell.epochs)}


def own_seconds(times: Sequence[float]) -> float | None:
    """Return how long a trial took by itself, or None if that cannot be told.

    Its first epoch may have waited for the start of processes that train others too: it counts as the mean of the rest.

    Args:
        times: in seconds, when it was handed out, when each of its epochs was reported, and when it had ended.
    """
    _, *epochs, ended = times
    if len(epochs) < 2:
        return None
    return ended - epochs[0] + (epochs[-1] - epochs[0]) / (len(epochs) - 1)


def earlier_pace(study: StudySpec, folder: Path) -> Pace:
    """Return what the latest studies of the same question beside `folder` tell of arms that are the same there.

    Those count that ran on a machine like this one. A damaged one tells nothing.
    """
    found: Pace = {}
    for path in _latest(folder.parent.glob(f"{study.name}-*/ledger.jsonl"), without=folder):
        pace: Pace = {}
        try:
            arms = _same_arms(study, path.parent)
            for record in read_ledger(path) if arms else ():
                pace = with_trial(pace, record.cell, record.outcome) if record.cell.arm in arms else pace
        except (LedgerError, ProvenanceError, OSError, LookupError, TypeError, AttributeError):
            continue
        found = {**pace, **found}
    return found


def _latest(ledgers: Iterable[Path], without: Path) -> list[Path]:
    """Return the ledgers that were written last, but that of the study in the folder `without`."""
    try:
        return sorted((path for path in ledgers if path.parent != without), key=_written)[-STUDIES_READ:][::-1]
    except OSError:  # one is being taken away, or may not be read
        return []


def _written(path: Path) -> float:
    return path.stat().st_mtime


def _same_arms(study: StudySpec, other: Path) -> set[str]:
    """Return the arms that take as long in the study in the folder `other` as in `study`."""
    provenance = read_provenance(other)
    theirs, mine = provenance["resolved"], study.counting()
    others = ("epochs", "time_limit")
    runs = [{key: value for key, value in each["trial"].items() if key not in others} for each in (theirs, mine)]
    if runs[0] != runs[1] or provenance["sessions"][-1]["hardware"]["cpu"] != hardware(0)["cpu"]:
        return set()
    return {arm for arm in mine["arms"] if theirs["arms"].get(arm) == mine["arms"][arm]}
