"""Lost trials get another try: `--retry failed`, `--retry diverged`, `--retry out_of_memory`,
`--retry timed_out`, `--retry TRIAL`.

A trial with a result is never tried again, and of several tries the last one counts, whatever it is: nobody picks the
best. A trial goes on from its last whole epoch. One of a search whose choice is being confirmed by now is refused: with
another result the arm might have chosen otherwise.
"""

from collections.abc import Sequence

from dks_study.spec.base import Problem
from dks_study.study.ledger import LOST, OUTCOME, Ledger, Record
from dks_study.study.storage import Files


class RetryError(Problem, ValueError):
    """What was asked for cannot be tried again; the message is one line."""


def try_again(ledger: Ledger, files: Files, wanted: Sequence[str]) -> list[str]:
    """Let the trials that `wanted` names run again, and return their ids.

    Raises:
        RetryError: says what cannot be, before anything is changed.
    """
    chosen = [record for record in ledger.records if record.outcome.lost and _is_wanted(record, wanted)]
    for word in wanted:
        _refuse_unknown(word, ledger.records)
    confirmed = {record.cell.arm for record in ledger.records if record.cell.phase == "confirm"}
    for record in chosen:
        if record.cell.phase != "confirm" and record.cell.arm in confirmed:
            rule = "must not be a search trial of an arm whose choice is being confirmed by now"
            raise RetryError(f"--retry: {rule}, got {record.cell.id}")
    for record in chosen:
        # The outcome first: should a crash come between the two, the ledger still says that the trial was lost.
        files.place(record.cell.id).delete(OUTCOME)
        (files.trial(record.cell.id) / OUTCOME).unlink(missing_ok=True)
        ledger.try_again(record.cell.id)
    if chosen:
        files.save(ledger.path.name)
    return [record.cell.id for record in chosen]


def _is_wanted(record: Record, wanted: Sequence[str]) -> bool:
    return record.outcome.status in wanted or record.cell.id in wanted


def _refuse_unknown(word: str, records: Sequence[Record]) -> None:
    lost = {record.cell.id: record.outcome.status for record in records if record.outcome.lost}
    if word in LOST or word in lost:
        return
    known = next((record.outcome.status for record in records if record.cell.id == word), None)
    rule = f"must be {', '.join(LOST)}, or a trial that was lost ({', '.join(lost) or 'none was'})"
    raise RetryError(f"--retry: {rule}, got {word!r}{f', which is {known}' if known else ''}")
