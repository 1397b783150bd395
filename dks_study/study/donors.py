"""What other studies have finished, and where they are."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dks_study.study.ledger import LedgerError, Record, read_ledger


@dataclass(frozen=True)
class Donor:
    """A finished trial of another study.

    Attributes:
        study: the folder of that study.
        record: the line of its ledger.
    """

    study: Path
    record: Record

    @property
    def folder(self) -> Path:
        """Of the trial."""
        return self.study / "trials" / self.record.cell.id

    @property
    def trained_by(self) -> str:
        """The study that trained it, which may have been a third one."""
        return self.record.adopted_from or self.study.name


def studies_in(folder: Path) -> list[Path]:
    """Return `folder` if it is that of a study, else the studies in it."""
    return [folder] if (folder / "ledger.jsonl").is_file() else sorted(x.parent for x in folder.glob("*/ledger.jsonl"))


def donors_in(studies: Iterable[Path], own: Path, note: Callable[[str], None]) -> list[Donor]:
    """Return the trials of all `studies` but `own` that can be taken; `note` is told of ledgers that cannot be read."""
    found = list[Donor]()
    for study in dict.fromkeys(path.resolve() for path in studies):
        try:
            records = [] if study == own.resolve() else list(read_ledger(study / "ledger.jsonl"))
        except (LedgerError, OSError) as error:
            note(f"Note: no trial is adopted from {study}: {error}")
            continue
        found += [Donor(study, record) for record in records if record.identity]
    return found


def adopted_from(records: Iterable[Record]) -> Mapping[str, int]:
    """Return how many trials were trained by each other study, the one with the most first."""
    return dict(Counter(record.adopted_from for record in records if record.adopted_from).most_common())


def in_words(records: Sequence[Record], planned: int) -> str:
    """Return how many trials are adopted, and from where; "" if none is."""
    names = adopted_from(records)
    if not names:
        return ""
    where = ", ".join(names if len(names) == 1 else (f"{count} from {name}" for name, count in names.items()))
    return f"{sum(names.values())} of {planned} trials adopted from {where}."
