"""The ledger: an append-only file of finished trials, one JSON object a line. It makes a resume exact.

A line is written and flushed to disk before anything else learns that the trial has ended. Two lines are no trials: one
lets a lost trial run again, one seals the plan before the first confirmation. Only the last line can be cut in half by
a crash; such a line is dropped when the ledger is opened, and its trial is settled again from its own folder.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from dks_study.spec.base import Problem
from dks_study.spec.objectives import ACCURACY
from dks_study.spec.study import StudySpec
from dks_study.study import line_rules as rules
from dks_study.study.cell import CELL_RULE, Cell
from dks_study.study.sealing import PLAN_RULE, Plan

OUTCOME, EPOCHS, ERROR = "outcome.json", "epochs.jsonl", "error.txt"
_AGAIN, _SEALED = "try_again", "sealed"  # the keys of lines that are no records
Status = Literal["complete", "stopped", "diverged", "out_of_memory", "timed_out", "failed"]
# Without a result that there should have been.
LOST: tuple[Status, ...] = ("diverged", "out_of_memory", "timed_out", "failed")


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: the metrics of its last epoch, or why there are none.

    Attributes:
        error: why it failed, diverged or was stopped early.
        steps: of a search trial, the objective after epochs 1, 2, ...
        accumulate: in how many parts its batches were trained after it had run out of memory; None: it had not.
        seconds: how long it took, without the start of a process that trains others too; None: nobody saw it whole.
    """

    status: Status
    metrics: dict[str, float]
    error: str | None = None
    steps: list[float] = field(default_factory=list)
    accumulate: int | None = None
    seconds: float | None = None

    @property
    def lost(self) -> bool:
        """Whether it ended without a result that it should have had; a trial stopped early should not."""
        return self.status in LOST


@dataclass(frozen=True)
class Record:
    """One line of the ledger."""

    cell: Cell
    outcome: Outcome
    trial_hash: str
    ended: str  # ISO 8601, UTC
    data: str | None = None  # fingerprint of the data set; None: of a time before there were any
    identity: str | None = None  # of a complete trial: whoever has the same has the same numbers; None: not known
    adopted_from: str | None = None  # the study that trained it, if that is another one
    tries: int = 1  # this one and those before it that were lost
    plan: Plan | None = None  # of an adopted confirmation: under which its result was first seen, if another than here


# What JSON keeps of them; keys that came later may be left out.
_TEXT = rules.or_none(rules.TEXT)
_OUTCOME_RULE = rules.keys(
    {"status": rules.one_of(get_args(Status)), "metrics": rules.NUMBERS},
    {"error": _TEXT, "steps": rules.LISTED_NUMBERS}
    | {"accumulate": rules.or_none(rules.whole(1)), "seconds": rules.or_none(rules.NUMBER)},
)
_RECORD_RULE = rules.keys(
    {"cell": CELL_RULE, "outcome": _OUTCOME_RULE, "trial_hash": rules.TEXT, "ended": rules.TEXT},
    {**dict.fromkeys(("data", "identity", "adopted_from"), _TEXT), "tries": rules.whole(1)}
    | {"plan": rules.or_none(PLAN_RULE)},
)
_AGAIN_RULE, _SEALED_RULE = rules.keys({_AGAIN: rules.TEXT}, {}), rules.keys({_SEALED: PLAN_RULE}, {})
_Line = Record | Plan | str  # how a trial ended, a plan, or the id of a trial that is to be tried again


class LedgerError(Problem, ValueError):
    """The ledger cannot be trusted; the message names file and line."""


class Ledger:
    """Append-only list of records in one file; reading it never needs more than the file."""

    def __init__(self, path: Path, study: StudySpec | None = None) -> None:
        """Open the ledger at `path`, of `study` if that is known; a half-written last line is cut off.

        Raises:
            LedgerError: if a line other than the last one cannot be read, or is none of the study.
        """
        self.path, self._waits = path, True
        lines = list(_lines(path, study))
        self.records, self.plan, self._lost = list(_standing(lines)), _last_seal(lines), _lost_tries(lines)
        if path.exists():
            whole = path.read_bytes().rpartition(b"\n")[0]
            size = len(whole) + 1 if whole else 0
            if size < path.stat().st_size:
                os.truncate(path, size)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait for the disk once, after all records that are appended meanwhile.

        For trials that leave their outcome in a folder of their own: should power fail, they are settled again.
        """
        self._waits = False
        try:
            yield
        finally:
            self._waits = True
            if self.path.exists():
                with self.path.open("a", encoding="utf-8") as file:
                    os.fsync(file.fileno())

    def append(self, record: Record) -> None:
        """Write `record` and wait until it is on disk."""
        plan = {"plan": record.plan.fields} if record.plan else {}
        fields = {name: value for name, value in vars(record).items() if name != "plan"}
        self._write({**fields, "cell": record.cell.fields, "outcome": vars(record.outcome), **plan})
        self.records.append(record)

    def seal(self, plan: Plan) -> bool:
        """Write down what the confirmation goes by, if it is not what was sealed last; return whether it was new."""
        if plan == self.plan:
            return False
        self._write({_SEALED: plan.fields})
        self.plan = plan
        return True

    def tries(self, trial: str) -> int:
        """Return how many tries of a trial there are with the next one."""
        return 1 + self._lost[trial]

    def try_again(self, trial: str) -> None:
        """Let a lost trial count as one that has not run; its line stays in the file.

        Raises:
            ValueError: if it was not lost: a trial with a result is never tried again.
        """
        if not any(record.cell.id == trial and record.outcome.lost for record in self.records):
            raise ValueError(f"only a lost trial is tried again, got {trial!r}")
        self._write({_AGAIN: trial})
        self._lost[trial] += 1
        self.records = [record for record in self.records if record.cell.id != trial]

    def _write(self, content: dict[str, Any]) -> None:
        before = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(content) + "\n")
                file.flush()
                if self._waits:
                    os.fsync(file.fileno())
        except OSError:  # a full disk: half a line would spoil the next one
            if self.path.exists():
                os.truncate(self.path, before)
            raise


def read_ledger(path: Path, study: StudySpec | None = None) -> Iterator[Record]:
    """Yield the records of a ledger, of `study` if that is known, without changing it.

    An unfinished last line is passed over. A lost trial that was to be tried again is left out until its next try has
    ended.

    Raises:
        LedgerError: if a line that ends in a newline is not a record, or none of the study.
    """
    yield from _standing(list(_lines(path, study)))


def _standing(lines: Sequence[_Line]) -> Iterator[Record]:
    again = _lost_tries(lines)
    for line in lines:
        if isinstance(line, str):
            again[line] -= 1
        elif isinstance(line, Record) and not again[line.cell.id]:
            yield line


def read_seal(path: Path) -> Plan | None:
    """Return the plan that was sealed last in a ledger, None if there is none; raises as `read_ledger`."""
    return _last_seal(list(_lines(path)))


def _last_seal(lines: Sequence[_Line]) -> Plan | None:
    return next((line for line in reversed(lines) if isinstance(line, Plan)), None)


def _lost_tries(lines: Iterable[_Line]) -> Counter[str]:
    return Counter(line for line in lines if isinstance(line, str))


def _lines(path: Path, study: StudySpec | None = None) -> Iterator[_Line]:
    if not path.exists():
        return
    try:
        whole, newline, _unfinished = path.read_bytes().rpartition(b"\n")
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from error
    for number, text in enumerate(whole.split(b"\n") if newline else [], start=1):
        try:
            line = _line(rules.parsed(text))
            if study and isinstance(line, Record):
                _refuse_of_others(line, study)
        except ValueError as error:
            raise LedgerError(f"{path}:{number}: not a record of a trial: {error}") from error
        yield line


def _refuse_of_others(record: Record, study: StudySpec) -> None:
    """Refuse a record that is not of `study`, or lacks what searches and pages read."""
    cell, outcome = record.cell, record.outcome
    if cell.arm not in study.arms:
        raise ValueError(f"cell.arm must be one of the study's ({', '.join(study.arms)}), got {cell.arm!r}")
    needed = (ACCURACY,) if cell.phase == "confirm" else (ACCURACY, *study.search.objectives)
    if outcome.status == "complete" and (lacking := [name for name in needed if name not in outcome.metrics]):
        raise ValueError(f"outcome.metrics.{lacking[0]} must be there of a complete trial, got none")


def _line(fields: Any) -> _Line:  # noqa: ANN401  # as JSON has it
    special = fields if isinstance(fields, dict) else {}
    rule = _AGAIN_RULE if _AGAIN in special else _SEALED_RULE if _SEALED in special else _RECORD_RULE
    rules.check(fields, rule)
    if _AGAIN in fields:
        return str(fields[_AGAIN])
    if _SEALED in fields:
        return Plan.read(fields[_SEALED])
    cell, outcome, plan = Cell(**fields.pop("cell")), _outcome(fields.pop("outcome")), fields.pop("plan", None)
    return Record(cell=cell, outcome=outcome, plan=Plan.read(plan) if plan else None, **fields)


def _outcome(fields: dict[str, Any]) -> Outcome:
    """Make an outcome whose metrics have names in common with all others: each trial's own would be a third of it."""
    metrics = {sys.intern(name): value for name, value in fields["metrics"].items()}
    return Outcome(**{**fields, "metrics": metrics})


def read_outcome(folder: Path) -> Outcome | None:
    """Return how the trial in `folder` ended, or None if it has not, or its outcome cannot be read."""
    try:
        return outcome_in((folder / OUTCOME).read_bytes())
    except FileNotFoundError:
        return None


def outcome_in(content: bytes) -> Outcome | None:
    """Return what a trial's outcome file says, or None if it cannot be read."""
    try:
        rules.check(fields := rules.parsed(content), _OUTCOME_RULE)
        return _outcome(fields)
    except ValueError:
        return None


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Say how the trial in `folder` ended."""
    write_whole(folder / OUTCOME, outcome_text(outcome))


def outcome_text(outcome: Outcome) -> str:
    """Return what a trial's outcome file holds."""
    return json.dumps(vars(outcome))


def read_epochs(folder: Path) -> Iterator[dict[str, float]]:
    """Yield the metrics of every whole line of the epochs.jsonl of a trial."""
    path = folder / EPOCHS
    if path.exists():
        yield from epochs_in(path.read_bytes())


def epochs_in(content: bytes) -> Iterator[dict[str, float]]:
    """Yield the metrics of every whole line of what an epochs.jsonl holds."""
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return
        try:
            yield json.loads(line)
        except ValueError:  # damaged: what follows is trained again
            return


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a crash leaves either the old text or the new one, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
