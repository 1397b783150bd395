"""Data sets in Ray's object store: read once by the driver, one copy on each node, shared by its processes.

Files that are decoded on the fly each node reads for itself: that they are those of the driver is checked there.
"""

from collections.abc import Iterable
from functools import lru_cache

import ray

from dks_study.engine.cluster import OtherDataError, host
from dks_study.spec.data import DataSpec
from dks_study.study.began_with import StudyData
from dks_study.training.data import DataError, DataSet, load
from dks_study.training.data.fingerprint import Contents, contents_of, differences, fingerprint


class SharedData:
    """Gives any process of the cluster the data set of a spec."""

    def __init__(self, specs: Iterable[DataSpec], study: StudyData) -> None:
        """Read the data sets of `specs`; others of the same images, those of `study`, are read where they are wanted.

        Raises:
            DataError: as `load`.
        """
        wanted = {spec.as_read.content_hash(): spec for spec in specs}
        self._stored = {name: ray.put(load(spec)) for name, spec in wanted.items()}
        self.fingerprint = study.fingerprint
        self._spec, self._contents = study.spec.as_read, ray.put(study.contents)

    def __call__(self, spec: DataSpec) -> DataSet:
        """Return the data set of `spec`; images in memory must not be written to."""
        stored = self._stored.get(spec.as_read.content_hash())
        if stored is not None:
            return _fetch(stored)
        self._check()
        return load(spec)

    def check_here(self, *, anew: bool = False) -> None:
        """Refuse to decode other files on this node than the driver sees; `anew`: whatever this process saw before.

        Raises:
            OtherDataError: says what differs.
        """
        if anew:
            _contents_here.cache_clear()
        if self._spec.on_disk:
            self._check()

    def _check(self) -> None:
        try:
            here = _contents_here(self._spec)
        except DataError as error:
            raise OtherDataError(f"{error} on {host()}") from error
        if fingerprint(here) != self.fingerprint:
            what = differences(ray.get(self._contents), here)
            rule = "data.root: must hold the images that the study began with on every node"
            raise OtherDataError(f"{rule}; on {host()} they differ: {what}")


@lru_cache(maxsize=2)  # a process that trains one trial after another keeps its decoding processes
def _fetch(stored: "ray.ObjectRef") -> DataSet:
    data: DataSet = ray.get(stored)
    return data


@lru_cache(maxsize=1)  # it is asked for every trial
def _contents_here(spec: DataSpec) -> Contents:
    return contents_of(spec)
