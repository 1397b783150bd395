"""In what two studies differ: dks-study diff A B. Keys, code, versions, machine, data, and the numbers of trials."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dks_study.spec.options import OptionParser
from dks_study.spec.study import UNHASHED
from dks_study.study.agreement import unlike
from dks_study.study.ledger import Record, read_ledger
from dks_study.study.provenance import flat, read_provenance
from dks_study.study.results import load_study_of

EXIT_DIFFERS = 1
SHOWN = 10  # trials with other numbers


def main(words: Sequence[str]) -> int:
    """Run the command line; return 0 if nothing differs, else 1.

    Raises:
        Problem: one line, if one of the folders is no study.
    """
    parser = OptionParser(prog="dks-study diff", description="Say in what two studies differ.")
    for name in ("one", "other"):
        parser.add_argument(name, metavar="FOLDER", help="of a study")
    options = parser.parse_args(list(words))
    found = list(differences(Path(options.one), Path(options.other)))
    print("\n".join(found) or "Nothing differs.")
    return EXIT_DIFFERS if found else 0


def differences(one: Path, other: Path) -> Iterator[str]:
    """Yield a line for everything in which two studies differ, as `what: in one -> in the other`.

    Raises:
        ResultsError: if one of the folders is no study.
        LedgerError: if a ledger is damaged.
    """
    studies = {folder: load_study_of(folder) for folder in (one, other)}
    known = [read_provenance(folder) for folder in (one, other)]
    yield from _changed(*(flat(each["resolved"]) for each in known))
    yield from _changed(*(_origin(each) for each in known))
    ledgers = [
        {record.cell.id: record for record in read_ledger(folder / "ledger.jsonl", studies[folder])}
        for folder in (one, other)
    ]
    yield from _numbers(*ledgers)


def _origin(provenance: Mapping[str, Any]) -> Mapping[str, object]:
    """Return code, versions, machine of the last session, and the fingerprint of the data."""
    last = provenance["sessions"][-1] if provenance["sessions"] else {}
    data = provenance.get("data", {}).get("fingerprint")
    code = {f"code ({name})": last.get(name) for name in ("code", "numbers")}
    return {**code, **last.get("packages", {}), **last.get("hardware", {}), "data fingerprint": data}


def _changed(one: Mapping[str, object], other: Mapping[str, object]) -> Iterator[str]:
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            note = ", which changes no number" if key in UNHASHED else ""
            yield f"{key}: {_text(one, key)} -> {_text(other, key)}{note}"


def _text(values: Mapping[str, object], key: str) -> str:
    return str(values[key]) if values.get(key) is not None else "none"


def _numbers(one: Mapping[str, Record], other: Mapping[str, Record]) -> Iterator[str]:
    for mine, theirs, side in ((one, other, "first"), (other, one, "second")):
        if only := [trial for trial in mine if trial not in theirs]:
            more = ", ..." if len(only) > SHOWN else ""
            yield f"trials of the {side} alone: {len(only)} ({', '.join(only[:SHOWN])}{more})"
    both = [trial for trial in one if trial in other]
    told = [line for trial in both if (line := unlike(one[trial], other[trial]))]
    yield from told[:SHOWN]
    if told:
        yield f"{len(told)} of {len(both)} trials that both have differ in what they are or in their numbers"
