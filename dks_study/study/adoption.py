"""Finished trials of other studies, taken instead of training the same again.

A trial is taken if it has the identity of one that is to be run (identity.py), completed all its epochs in one piece,
and would not have been stopped by the bars of this study's search. Its files are copied, checkpoints and predictions as
hard links where that is possible, and it is the copy that is looked at: whatever becomes of the donor meanwhile, a
trial is taken whole or not at all, but for predictions, without which it is the same trial. The folder appears under
the trial's name when all in it is right, its outcome included; a crash before that leaves nothing, one after it a trial
that is settled as any other whose line in the ledger is missing.
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
from dks_study.study.failures import is_disk_full
from dks_study.study.identity import ORIGIN, Kept, Origin, identity, origin_of, origin_text, read_origin
from dks_study.study.ledger import (
    OUTCOME,
    Cell,
    LedgerError,
    Outcome,
    Record,
    outcome_text,
    read_epochs,
    read_ledger,
    read_outcome,
)
from dks_study.study.predictions import FILE as PREDICTIONS
from dks_study.study.results import ResultsError, load_study_of
from dks_study.study.sealing import Plan, plan_of
from dks_study.study.stopping import Watch
from dks_study.study.storage import Files

_COPIED, _CHECKPOINTS = ("trial.json", "epochs.jsonl", "log.txt", OUTCOME, ORIGIN), ("last.pt", "best.pt")


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
                copy = self._copied(donor)
                outcome = verified(copy, donor.record, trial, origin, watch)
                if self._checkpoints and not all((copy / name).exists() for name in _CHECKPOINTS):
                    raise UnfitError("keep: all, and its checkpoints were deleted there")
            except (UnfitError, OSError) as error:
                if is_disk_full(error):
                    raise
                self.unfit[cell.id] = str(error), donor.folder
                continue
            plan = self._other_plan(donor) if cell.phase == "confirm" else None
            (copy / ORIGIN).write_text(origin_text(Kept(origin, donor.trained_by, plan)), encoding="utf-8")
            if outcome.steps != donor.record.outcome.steps:
                (copy / OUTCOME).write_text(outcome_text(replace(outcome, seconds=None)), encoding="utf-8")
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

    def _copied(self, donor: Donor) -> Path:
        """Return a copy of a donor's folder, in the scratch folder."""
        copy = self._files.scratch / "adopted"
        if copy.exists():
            shutil.rmtree(copy)
        copy.mkdir(parents=True)
        there, here = str(donor.folder), str(copy)
        for name in _COPIED:
            content = Path(os.path.join(there, name)).read_bytes()  # small: shutil.copyfile asks more of the disk
            Path(os.path.join(here, name)).write_bytes(content)
        for name in (*_CHECKPOINTS, *([PREDICTIONS] if self._predictions else [])):
            if os.path.exists(os.path.join(there, name)):
                link(os.path.join(there, name), os.path.join(here, name))
        return copy


def verified(folder: Path, record: Record, trial: TrialSpec, origin: Origin, watch: Watch | None) -> Outcome:
    """Return how a trial ended whose files are in `folder`, as this study would have it.

    Args:
        folder: of a copy.
        record: what its ledger says of it.
        trial: what it must have trained.
        origin: what must have made its numbers.
        watch: what would have stopped it here, and what this study keeps of every epoch.

    Raises:
        UnfitError: says what is wrong.
        OSError: if a file is not there.
    """
    epochs = checked(folder, record, trial)
    if read_origin(folder).origin != origin:
        raise UnfitError("origin.json is not that of the trial")
    if record.outcome.status != "complete" or record.outcome.accumulate:
        raise UnfitError("it did not complete in one piece")
    if watch and watch.costs and not any(name.startswith("cost/") for name in epochs[-1]):
        raise UnfitError("search.objectives needs costs, which it did not count")
    return replace(record.outcome, steps=_replayed(epochs, watch))


def checked(folder: Path, record: Record, trial: TrialSpec) -> list[dict[str, float]]:
    """Return the epochs of a trial with a result, whose files in `folder` are whole and those that its ledger means.

    Raises:
        UnfitError: says what is wrong.
        OSError: if a file is not there.
    """
    if not _is_trial(folder / "trial.json", trial):
        raise UnfitError("trial.json is not that of the trial")
    ended = read_outcome(folder)
    # The driver alone knows how long it took, and in how many parts.
    if ended is None or ended != replace(record.outcome, seconds=None, accumulate=ended.accumulate):
        raise UnfitError("outcome.json is not what its ledger says")
    epochs = list(read_epochs(folder))
    lines = (folder / "epochs.jsonl").read_bytes().count(b"\n")
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


def _is_trial(path: Path, trial: TrialSpec) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == trial.model_dump(mode="json"))
    except ValueError:
        return False


def link(source: str, target: str) -> None:
    """Link or copy a checkpoint or predictions, which are replaced where they change, and never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
