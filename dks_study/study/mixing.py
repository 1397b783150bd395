"""What must not be mixed in one study: said by name when studies that were run apart are to be merged.

Alike must be all that can be made alike: the description but for its report seeds, the data, the code that makes
numbers, versions, settings and device, what each arm's search chose, and the trials that more than one of them has.
Processors may differ, and that is said: the arms of one seed were trained on the same one.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from dks_study.spec.base import Problem
from dks_study.spec.study import StudySpec
from dks_study.study.agreement import unlike
from dks_study.study.identity import read_origin
from dks_study.study.ledger import Record, read_ledger
from dks_study.study.provenance import flat, read_provenance
from dks_study.study.results import load_study_of

_OWN = {"processor", "instructions", "kernels"}  # each machine's own
_SHOWN = 3


class MergeError(Problem, ValueError):
    """Studies cannot be merged; the message is one line."""


@dataclass(frozen=True)
class Side:
    """One of the studies that are merged.

    Attributes:
        folder: of the study.
        name: the end of its path that tells it from the others.
        recorded: its provenance.json.
    """

    folder: Path
    name: str
    study: StudySpec
    recorded: Mapping[str, Any]
    records: tuple[Record, ...]

    @cached_property
    def origins(self) -> Mapping[str, str]:
        """What made the numbers of each arm, by `arm: key`; several values where it changed under the study."""
        found = defaultdict[str, set[str]](set)
        for record in self.records:
            for key, value in (read_origin(self.folder / "trials" / record.cell.id).origin or {}).items():
                found[f"{record.cell.arm}: {key}"].add(value)
        return {key: " and ".join(sorted(values)) for key, values in found.items()}


def read_sides(folders: Sequence[Path]) -> list[Side]:
    """Read the studies in `folders`, finished or not.

    Raises:
        MergeError: if these are not two or more folders.
        ResultsError, LedgerError: if one of them is no study, or damaged.
    """
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < max(2, len(paths)):
        raise MergeError(f"merge: must be given two studies or more, each once, got {', '.join(map(str, folders))}")
    depth = next(depth for depth in range(1, 1 + max(len(path.parts) for path in paths)) if _tell_apart(paths, depth))
    return [
        Side(
            path,
            _end(path, depth),
            study,
            read_provenance(path),
            tuple(read_ledger(path / "ledger.jsonl", study)),
        )
        for path, study in ((path, load_study_of(path)) for path in paths)
    ]


def refuse_mixing(sides: Sequence[Side]) -> None:
    """Refuse to merge what must not be mixed.

    Raises:
        MergeError: names what differs, and how.
    """
    for one, other in combinations(sides, 2):
        names = one.name, other.name
        _refuse("the description", names, _description(one), _description(other))
        _refuse("the data", names, _data(one), _data(other))
        _refuse("the code", names, _code(one), _code(other))
        mine, theirs = (_without_own(side.origins) for side in (one, other))
        both = mine.keys() & theirs.keys()
        _refuse("what makes numbers", names, {key: mine[key] for key in both}, {key: theirs[key] for key in both})
        choices = [_choices(side) for side in (one, other)]
        searched = choices[0].keys() & choices[1].keys()
        _refuse("what a search chose", names, *({key: each[key] for key in searched} for each in choices))
        for text in _unlike_trials(one, other):
            raise MergeError(f"merge: trials of both must be alike: {text} ({one.name} -> {other.name})")


def own_processors(sides: Sequence[Side]) -> str:
    """Return in words which processors trained which study, if these are not the same; "" if they are."""
    named = {side.name: {value for key, value in side.origins.items() if key.endswith(": processor")} for side in sides}
    kinds = {name: " and ".join(sorted(values)) for name, values in named.items() if values}
    return "; ".join(f"{kind} in {name}" for name, kind in kinds.items()) if len(set(kinds.values())) > 1 else ""


def _refuse(what: str, names: tuple[str, str], one: Mapping[str, object], other: Mapping[str, object]) -> None:
    keys = sorted(key for key in {**one, **other} if one.get(key) != other.get(key))
    if keys:
        told = [f"{key} {one.get(key)!r} in {names[0]}, {other.get(key)!r} in {names[1]}" for key in keys[:_SHOWN]]
        more = [f"{len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
        raise MergeError(f"merge: {what} must be the same in all studies: {'; '.join(told + more)}")


def _description(side: Side) -> Mapping[str, object]:
    by_seeds = side.study.table.looks is None  # else who takes which seed depends on all of them
    return flat({key: value for key, value in side.study.counting().items() if key != "report_seeds" or not by_seeds})


def _data(side: Side) -> Mapping[str, object]:
    return {"fingerprint": side.recorded.get("data", {}).get("fingerprint")}


def _code(side: Side) -> Mapping[str, object]:
    """Return what the last session ran with; what comes before it was the same, or the study would not have gone on."""
    last = side.recorded["sessions"][-1] if side.recorded["sessions"] else {}
    return {"numbers": last.get("numbers", last.get("code"))}


def _without_own(origins: Mapping[str, str]) -> Mapping[str, str]:
    return {key: value for key, value in origins.items() if key.rpartition(": ")[2] not in _OWN}


def _choices(side: Side) -> Mapping[str, object]:
    """Return what the searches of each arm chose; several settings where that is a front."""
    found = dict[str, object]()
    for cell in (record.cell for record in side.records if record.cell.phase == "confirm"):
        if "tuned" in cell.rows:
            search = f", search {cell.repeat}" if cell.repeat else ""
            found[f"arm {cell.rows['tuned']}{search}"] = dict(cell.setting)
    return found


def _unlike_trials(one: Side, other: Side) -> Iterator[str]:
    theirs = {record.cell.id: record for record in other.records}
    for record in one.records:
        match = theirs.get(record.cell.id)
        if match and record.cell.phase == "confirm":  # among other seeds it has another place
            match = replace(match, cell=replace(match.cell, index=record.cell.index, repeat=record.cell.repeat))
        if match and (text := unlike(record, match)):
            yield text


def _end(path: Path, depth: int) -> str:
    return "/".join(path.parts[-depth:])


def _tell_apart(paths: Sequence[Path], depth: int) -> bool:
    return len({_end(path, depth) for path in paths}) == len(paths)
