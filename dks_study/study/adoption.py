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
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from dks_study.spec.study import StudySpec
from dks_study.spec.trial import TrialSpec
from dks_study.study.cell import Cell
from dks_study.study.donors import Donor
from dks_study.study.failures import is_disk_full
from dks_study.study.identity import ORIGIN, Kept, Origin, identity, origin_in, origin_of, origin_text
from dks_study.study.ledger import (
    EPOCHS,
    OUTCOME,
    Outcome,
    Record,
    epochs_in,
    outcome_in,
    outcome_text,
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


class UnfitError(Exception):
    """A finished trial cannot be taken; the message says why in a few words."""


class Adoption:
    """Takes trials from donors into the files of a study."""

    def __init__(
        self,
        study: StudySpec,
        files: Files,
        donors: Iterable[Donor],
        seen: Iterable[Donor],
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
            seen: what is known besides, and is not taken.
            data: fingerprint of the data of this study.
            environment: what a trial of this study would be trained with.
            checkpoints: whether this study wants a trial's checkpoints whatever its result.
            predictions: whether it wants its predictions, if they were kept: a trial is taken without them, too.
        """
        self._files, self.data, self._environment = files, data, environment
        self._checkpoints, self._predictions = checkpoints, predictions
        self._question, self._plan_here = study.name, plan_of(study)
        self._studies = dict[Path, StudySpec | None]()  # of donors of confirmations
        self.donors, self._donors = tuple(donors), dict[str, list[Donor]]()
        for donor in self.donors:
            self._donors.setdefault(donor.record.identity or "", []).append(donor)
        self._seen = dict[str, list[Donor]]()  # confirmations by what they train, whatever code trained them
        for donor in (*self.donors, *seen):
            if donor.record.cell.phase == "confirm":
                self._seen.setdefault(donor.record.trial_hash, []).append(donor)
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

    def seen_under(self, cell: Cell, trial: TrialSpec) -> Plan | None:
        """Return under which plan the result of a confirmation was seen that is trained again, if that is not this one.

        Its numbers may be others by now (another code, another processor); whoever changed the plan had seen those.
        """
        donors = self._seen.get(trial.content_hash(), ()) if cell.phase == "confirm" else ()
        plans = [plan for donor in donors if (plan := self._plan(donor))]
        return None if self._plan_here in plans else next(iter(plans), None)

    def _other_plan(self, donor: Donor) -> Plan | None:
        """Return the plan under which a confirmation of the same question was first seen, if that is not this one."""
        plan = self._plan(donor)
        return None if plan == self._plan_here else plan

    def _plan(self, donor: Donor) -> Plan | None:
        """Return the plan under which a confirmation was first seen; None if it is of another question."""
        if donor.study not in self._studies:
            try:
                self._studies[donor.study] = load_study_of(donor.study)
            except (ResultsError, ValueError):  # an older one, whose description cannot be read by now
                self._studies[donor.study] = None
        theirs = self._studies[donor.study]
        if theirs is None or theirs.name != self._question:
            return None
        return donor.record.plan or plan_of(theirs)

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
