"""The data that a study began with: others are refused when it goes on, as its table would mix both.

The fingerprint stands in provenance.json, and beside it data.json.gz says what the hash of each file or array was, so
that what differs can be named. A study from before there were fingerprints goes on, and gets one.
"""

import gzip
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dks_study.spec.data import DataSpec
from dks_study.spec.study import StudySpec, arm_run
from dks_study.study.provenance import recorded_of
from dks_study.training.arm_checks import StudyError
from dks_study.training.data.checking import found_in
from dks_study.training.data.fingerprint import Contents, Fingerprint, contents_of, differences, fingerprint
from dks_study.training.data.loading import read_and_split

CONTENTS = "data.json.gz"


@dataclass(frozen=True)
class StudyData:
    """The data of a study as they are now.

    Attributes:
        spec: of the first arm; which images there are does not depend on the arm.
        contents: hash of each file or array.
        found: what is known of the images before anything trains, on one line.
    """

    spec: DataSpec
    contents: Contents
    found: str

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the contents."""
        return fingerprint(self.contents)

    @property
    def record(self) -> dict[str, str | int]:
        """What provenance.json says of them."""
        mine = self.fingerprint
        return {"fingerprint": mine.digest, "entries": mine.entries, "found": self.found}


def look_at_data(study: StudySpec, folder: Path, note: Callable[[str], None]) -> StudyData:
    """Look at the data of `study`, which are those that it began with in `folder`; `note` is told of long reading.

    Raises:
        DataError: if they cannot be had.
        StudyError: says what differs.
        ProvenanceError: if provenance.json is damaged.
    """
    spec = arm_run(study, next(iter(study.arms)), {}).data
    read_and_split.cache_clear()  # a notebook may have run a study before, and its data have changed since
    contents = contents_of(spec, note)
    _refuse_others(folder, contents)
    return StudyData(spec, contents, str(found_in(spec, contents)))


def data_of(study: StudySpec) -> list[DataSpec]:
    """Return the data of every arm on every split."""
    arms, splits = [arm_run(study, arm, {}).data for arm in study.arms], range(study.splits)
    return [data.model_copy(update={"split_seed": data.split_seed + split}) for data in arms for split in splits]


def keep_contents(folder: Path, contents: Contents) -> None:
    """Write data.json.gz; a crash leaves the old one or the new one."""
    temporary = folder / f"{CONTENTS}.tmp"
    with temporary.open("wb") as file:
        file.write(gzip.compress(json.dumps(contents).encode(), compresslevel=1, mtime=0))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / CONTENTS)


def _refuse_others(folder: Path, contents: Contents) -> None:
    known = recorded_of(folder).get("data")
    if not known or known["fingerprint"] == fingerprint(contents).digest:
        return
    before = _kept(folder)
    what = differences(before, contents) if before else f"{known['entries']:,} entries then, {len(contents):,} now"
    rule = "the data of a study must not change, as its table would mix both"
    raise StudyError(f"{folder}: {rule}: {what}; put them back, or give another --results")


def _kept(folder: Path) -> Contents:
    try:
        contents: Contents = json.loads(gzip.decompress((folder / CONTENTS).read_bytes()))
    except (OSError, EOFError, ValueError, zlib.error):  # lost or damaged: the fingerprint still decides
        return {}
    return contents
