"""Which checkpoints stay on disk, and whether there is room for more, and for predictions.

While a trial runs it keeps its last and its best checkpoint. When it has ended, a study keeps what its `keep` asks for:
`best_per_arm` the checkpoint of the confirmed trial of each row of the table that is best on validation, `all`, `none`.
Predictions (predictions.py) are small and always stay.
"""

from collections.abc import Mapping

from dks_study.spec.objectives import ACCURACY
from dks_study.spec.study import StudySpec
from dks_study.study.ledger import Record
from dks_study.study.planned import planned
from dks_study.study.predictions import FILE as PREDICTIONS
from dks_study.study.storage import Files
from dks_study.training.arm_checks import StudyError

AT_ONCE = 3  # last, best, and the one that is being written
GIB = 2**30


class Checkpoints:
    """The checkpoints in a study's folder."""

    def __init__(
        self,
        study: StudySpec,
        files: Files,
        sizes: Mapping[str, int],
        budget_gib: float | None,
        predictions: Mapping[str, int] | None = None,
    ) -> None:
        """Mind the checkpoints among `files`.

        Args:
            study: says which stay.
            files: of the study.
            sizes: of a checkpoint, by arm, in bytes.
            budget_gib: what checkpoints and predictions may take; None: what the disk has.
            predictions: the size of those of a confirmation, by arm, in bytes.
        """
        self._study, self._files, self._sizes, self._budget_gib = study, files, sizes, budget_gib
        plans = planned(study)
        self._predictions = sum(plans[arm]["confirm"] * size for arm, size in (predictions or {}).items())
        self._what = "checkpoints and predictions" if self._predictions else "checkpoints"
        self._best: dict[str, Record] = {}  # by row of the table
        self._held: set[str] = set()  # trials that have checkpoints

    def check_room(self, slots: int) -> None:
        """Refuse a study whose checkpoints and predictions could not all be on disk at a time.

        Raises:
            StudyError: says how much is needed and how much there is.
        """
        largest = max(self._sizes.values())
        needed = AT_ONCE * largest * slots + self._at_the_end() + self._predictions
        if self._budget_gib is not None and needed > self._budget_gib * GIB:
            rule = f"must hold the {self._what} of the trials that run at a time and those that are kept"
            raise StudyError(f"--disk-gib: {rule}, {needed / GIB:.2f} GiB, got {self._budget_gib:g}")
        free = self._files.free_bytes()
        written = sum(path.stat().st_size for path in self._files.folder.glob(f"trials/*/{PREDICTIONS}"))
        if free is not None and needed > free + self._used() + written:
            advice = "free some, or keep less (keep: best_per_arm or none; keep_predictions: main or none)"
            raise StudyError(
                f"{self._files.folder}: {self._what} need {needed / GIB:.2f} GiB, {free / GIB:.2f} are free: {advice}"
            )

    def has_room(self) -> bool:
        """Is there room for one more trial?"""
        largest = AT_ONCE * max(self._sizes.values())
        if self._budget_gib is not None and self._used() + largest + self._predictions > self._budget_gib * GIB:
            return False
        free = self._files.free_bytes()
        return free is None or free >= largest

    def _at_the_end(self) -> int:
        needed = 0
        for arm, plan in planned(self._study).items():
            rows = plan["confirm"] // len(self._study.report_seeds)
            trials = {"none": 0, "best_per_arm": rows, "all": sum(plan.values())}[self._study.keep]
            needed += 2 * trials * self._sizes[arm]
        return needed

    def _used(self) -> int:
        return sum(map(self._files.checkpoint_bytes, self._held))

    def started(self, trial: str) -> None:
        """Count the checkpoints of a trial from here on."""
        self._held.add(trial)

    @property
    def held(self) -> frozenset[str]:
        """The trials that have checkpoints."""
        return frozenset(self._held)

    def settled(self, record: Record) -> None:
        """Delete what nothing asks for any more, now that this trial has ended."""
        self._held.add(record.cell.id)
        if self._study.keep == "all":
            return
        confirmed = record.cell.phase == "confirm" and record.outcome.status == "complete"
        rows = record.cell.rows.values() if self._study.keep == "best_per_arm" and confirmed else ()
        before = {self._best[row].cell.id for row in rows if row in self._best}
        for row in rows:
            if row not in self._best or _worth(record) > _worth(self._best[row]):
                self._best[row] = record
        kept = {best.cell.id for best in self._best.values()}
        for trial in {record.cell.id, *before} - kept:
            self._files.drop_checkpoints(trial)
            self._held.discard(trial)


def _worth(record: Record) -> tuple[float, int]:
    """By validation accuracy; of equals the first seed's."""
    return record.outcome.metrics[ACCURACY], -record.cell.index
