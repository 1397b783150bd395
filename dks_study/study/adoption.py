"""Finished trials of other studies, taken instead of training the same again.

A trial is taken if it has the identity of one that is to be run (identity.py), completed all its epochs in one piece,
and would not have been stopped by the bars of this study's search. Its small files are read once, and what is looked at
is what is then written, whatever becomes of the donor meanwhile; checkpoints, predictions and log are hard links where
that is possible. A trial is taken whole or not at all, but for predictions, without which it is the same trial: its
folder appears under its name when all in it is right, its outcome included; a crash before that leaves nothing, one
after it a trial that is settled as any other whose line in the ledger is missing.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dks_study.spec.base import Problem
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import TrialSpec
from dks_study.study.cell import Cell
from dks_study.study.failures import is_disk_full
from dks_study.study.identity import ORIGIN, Kept, Origin, identity, origin_in, origin_of, origin_text
from dks_study.study.ledger import (
    EPOCHS,
    OUTCOME,
    LedgerError,
    Outcome,
    Record,
    epochs_in,
    outcome_in,
    outcome_text,
    read_ledger,
)
from dks_study.study.predictions import FILE as PREDICTIONS
from dks_study.study.results import ResultsError, load_study_of
from dks_study.study.sealing import Plan, plan_of
from dks_study.study.stopping import Watch
from dks_study.study.storage import Files

TRIAL = "trial.json"
_COPIED, _LINKED = (TRIAL, EPOCHS, OUTCOME, ORIGIN), ("last.pt", "best.pt")
_LOG = "log.txt"  # no number comes from it

Content = Mapping[str, bytes]  # what small files of a trial hold, by name


class ReuseError(Problem, ValueError):
    """There is nothing to take trials from; the message is one line."""


class UnfitError(Exception):
    """A finished trial cannot be taken; the message says why in a few words."""


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


class Adoption:
    """Takes trials from donors into the files of a study."""

    def __init__(
        self,
        study: StudySpec,
        files: Files,
        donors: Iterable[Donor],
        data: str,
        environment: Mapping[str, str],
        *,
        checkpoints: bool,
        predictions: bool,
    ) -> None:
        """Take from `donors`.

        Args:
            study: that takes them.
            files: of that study.
            donors: what there is.
            data: fingerprint of the data of this study.
            environment: what a trial of this study would be trained with.
            checkpoints: whether this study wants a trial's checkpoints whatever its result.
            predictions: whether it wants its predictions, if they were kept: a trial is taken without them, too.
        """
        self._files, self.data, self._environment = files, data, environment
        self._checkpoints, self._predictions = checkpoints, predictions
        self._question, self._plan = study.name, plan_of(study)
        self._studies = dict[Path, StudySpec | None]()  # of donors of confirmations
        self.donors, self._donors = tuple(donors), dict[str, list[Donor]]()
        for donor in self.donors:
            self._donors.setdefault(donor.record.identity or "", []).append(donor)
        self.unfit: dict[str, tuple[str, Path]] = {}  # by id of the cell: why one like it was not taken, and which

    def __bool__(self) -> bool:
        """Is there anything to take?"""
        return bool(self._donors)

    def origin(self, trial: TrialSpec) -> Origin | None:
        """Return what would make the numbers of `trial` in this study."""
        return origin_of(trial, self._environment)

    def take(self, cell: Cell, trial: TrialSpec, watch: Watch | None) -> Outcome | None:
        """Take what `cell` needs, if there is a finished trial like it, and return how it ended.

        A trial that has begun here goes on here.

        Raises:
            OSError: if the disk is full, or the study's home cannot be reached.
        """
        if not self._donors or self._files.trial(cell.id).exists() or (origin := self.origin(trial)) is None:
            return None
        for donor in self._donors.get(identity(trial, self.data, origin), ()):
            try:
                content = content_of(donor.folder, _COPIED)
                outcome = verified(content, donor.record, trial, origin, watch)
                plan = self._other_plan(donor) if cell.phase == "confirm" else None
                changed = {ORIGIN: origin_text(Kept(origin, donor.trained_by, plan)).encode()}
                if outcome.steps != donor.record.outcome.steps:
                    changed[OUTCOME] = outcome_text(replace(outcome, seconds=None)).encode()
                copy = self._copied(donor, {**content, **changed})
            except (UnfitError, OSError) as error:
                if is_disk_full(error):
                    raise
                self.unfit[cell.id] = str(error), donor.folder
                continue
            self._files.take_over(copy, cell.id)
            return outcome
        return None

    def _other_plan(self, donor: Donor) -> Plan | None:
        """Return the plan under which a confirmation of the same question was first seen, if that is not this one."""
        if donor.study not in self._studies:
            try:
                self._studies[donor.study] = load_study_of(donor.study)
            except (ResultsError, ValueError):  # an older one, whose description cannot be read by now
                self._studies[donor.study] = None
        theirs = self._studies[donor.study]
        if theirs is None or theirs.name != self._question:
            return None
        plan = donor.record.plan or plan_of(theirs)
        return None if plan == self._plan else plan

    def _copied(self, donor: Donor, content: Content) -> Path:
        """Return a folder with `content` and a donor's checkpoints, in the scratch folder."""
        copy = self._files.scratch / "adopted"
        if copy.exists():
            shutil.rmtree(copy)
        copy.mkdir(parents=True)
        there, here = str(donor.folder), str(copy)
        for name, each in content.items():
            Path(os.path.join(here, name)).write_bytes(each)
        for name in (_LOG, *_LINKED, *([PREDICTIONS] if self._predictions else [])):
            if os.path.exists(os.path.join(there, name)):
                link(os.path.join(there, name), os.path.join(here, name))
            elif self._checkpoints and name in _LINKED:
                raise UnfitError("keep: all, and its checkpoints were deleted there")
        return copy


def content_of(folder: Path, names: Iterable[str] = (TRIAL, EPOCHS, OUTCOME)) -> Content:
    """Return what files of the trial in `folder` hold, by default those that `checked` looks at.

    Raises:
        OSError: if one is not there.
    """
    return {name: Path(os.path.join(folder, name)).read_bytes() for name in names}


def verified(content: Content, record: Record, trial: TrialSpec, origin: Origin, watch: Watch | None) -> Outcome:
    """Return how a trial ended, as this study would have it.

    Args:
        content: of its small files.
        record: what its ledger says of it.
        trial: what it must have trained.
        origin: what must have made its numbers.
        watch: what would have stopped it here, and what this study keeps of every epoch.

    Raises:
        UnfitError: says what is wrong.
    """
    epochs = checked(content, record, trial)
    if origin_in(content[ORIGIN]).origin != origin:
        raise UnfitError("origin.json is not that of the trial")
    if record.outcome.status != "complete" or record.outcome.accumulate:
        raise UnfitError("it did not complete in one piece")
    if watch and watch.costs and not any(name.startswith("cost/") for name in epochs[-1]):
        raise UnfitError("search.objectives needs costs, which it did not count")
    return replace(record.outcome, steps=_replayed(epochs, watch))


def checked(content: Content, record: Record, trial: TrialSpec) -> list[dict[str, float]]:
    """Return the epochs of a trial with a result, whose files are whole and those that its ledger means.

    Raises:
        UnfitError: says what is wrong.
    """
    if not _is_trial(content[TRIAL], trial):
        raise UnfitError("trial.json is not that of the trial")
    ended = outcome_in(content[OUTCOME])
    # The driver alone knows how long it took, and in how many parts.
    if ended is None or ended != replace(record.outcome, seconds=None, accumulate=ended.accumulate):
        raise UnfitError("outcome.json is not what its ledger says")
    epochs, lines = list(epochs_in(content[EPOCHS])), content[EPOCHS].count(b"\n")
    trained = trial.epochs if record.outcome.status == "complete" else len(record.outcome.steps)
    whole = [epoch.get("epoch") for epoch in epochs] == list(range(1, trained + 1)) and lines == len(epochs)
    if not whole or epochs[-1] != record.outcome.metrics:
        raise UnfitError("epochs.jsonl is damaged")
    return epochs


def _replayed(epochs: list[dict[str, float]], watch: Watch | None) -> list[float]:
    """Return what a search keeps of the epochs of a trial that it would not have stopped."""
    if watch is None or watch.metric is None:
        return []
    if any(watch.metric not in epoch for epoch in epochs):
        raise UnfitError(f"search.objectives: {watch.metric} is not in its epochs")
    steps = [epoch[watch.metric] for epoch in epochs]
    for done in range(1, len(steps) + 1):
        if why := watch.verdict(steps[:done]):
            raise UnfitError(f"search.early_stopping would have ended it {why}")
    return steps


def _is_trial(content: bytes, trial: TrialSpec) -> bool:
    try:
        return bool(json.loads(content) == trial.model_dump(mode="json"))
    except ValueError:
        return False


def link(source: str, target: str) -> None:
    """Link or copy what is replaced where it changes, and no more written into: checkpoints, predictions, a log."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
