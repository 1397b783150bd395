"""Why a trial could not be adopted: in what the finished trial that is most like it differs from it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dks_study.spec.trial import TrialSpec
from dks_study.study.adoption import Adoption
from dks_study.study.cell import Cell
from dks_study.study.donors import Donor
from dks_study.study.identity import read_origin
from dks_study.study.provenance import flat

LOOKED_AT = 50  # trials; what is true of these is likely to be true of others
SHOWN_KEYS, SHOWN_REASONS = 3, 3
NEAR_KEYS = 3  # what is described otherwise in more keys is another question's, and nobody expects it to be taken


@dataclass(frozen=True)
class Reason:
    """Why trials are trained.

    Attributes:
        kind: the keys in which the nearest one differs, or a reason of another kind.
        text: what is said of the first trial with such a reason.
    """

    kind: tuple[str, ...]
    text: str


def why_not(adoption: Adoption, trained: Sequence[tuple[Cell, TrialSpec]]) -> Iterator[str]:
    """Yield one line for each of the commonest reasons why trials are `trained` though there is one like them."""
    described = ((donor, _described(donor)) for donor in adoption.donors)
    known = [(donor, values) for donor, values in described if values]
    looked_at = trained[:LOOKED_AT]
    reasons = [reason for cell, trial in looked_at if (reason := _reason(adoption, cell, trial, known))]
    for kind, count in Counter(reason.kind for reason in reasons).most_common(SHOWN_REASONS):
        first = next(reason.text for reason in reasons if reason.kind == kind)
        yield f"Not adopted: {count} of the first {len(looked_at)} trials to train ({first})."


def _reason(
    adoption: Adoption, cell: Cell, trial: TrialSpec, known: Iterable[tuple[Donor, Mapping[str, object]]]
) -> Reason | None:
    if cell.id in adoption.unfit:
        text, folder = adoption.unfit[cell.id]
        return Reason((text,), f"{folder}: {text}")
    origin = adoption.origin(trial)
    if origin is None:
        return Reason(
            ("unknown",), "what makes its numbers is not known: compiled, or its own code or weights cannot be read"
        )
    mine = {**flat(trial.model_dump(mode="json")), "data": adoption.data, **origin}
    donor, theirs = min(known, key=lambda each: _distance(mine, each[1]), default=(None, {}))
    keys = tuple(sorted(key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)))
    if donor is None or not keys or sum(key not in origin for key in keys) > NEAR_KEYS:
        return None
    told = [f"{key} {theirs.get(key)!r} there, {mine.get(key)!r} here" for key in keys[:SHOWN_KEYS]]
    more = [f"{len(keys) - SHOWN_KEYS} more"] if len(keys) > SHOWN_KEYS else []
    return Reason(keys, f"the nearest, {donor.study.name}/{donor.record.cell.id}, has {'; '.join(told + more)}")


def _distance(mine: Mapping[str, object], theirs: Mapping[str, object]) -> int:
    return sum(theirs.get(key) != value for key, value in mine.items())


def _described(donor: Donor) -> Mapping[str, object]:
    """Return the keys that make a donor's identity; {} if its files are gone."""
    origin = read_origin(donor.folder).origin
    try:
        trial = flat(json.loads((donor.folder / "trial.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return {}
    return {**trial, "data": donor.record.data, **(origin or {})}
