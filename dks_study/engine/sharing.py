"""Data sets in Ray's object store: read once by the driver, one copy on each node, shared by its processes."""

from collections.abc import Iterable
from functools import lru_cache

import ray

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataSet, load


class SharedData:
    """Gives any process of the cluster the data set of a spec."""

    def __init__(self, specs: Iterable[DataSpec]) -> None:
        """Read the data sets of `specs`; others are read where they are asked for.

        Raises:
            DataError: as `load`.
        """
        wanted = {spec.as_read.content_hash(): spec for spec in specs}
        self._stored = {name: ray.put(load(spec)) for name, spec in wanted.items()}

    def __call__(self, spec: DataSpec) -> DataSet:
        """Return the data set of `spec`; images in memory must not be written to."""
        stored = self._stored.get(spec.as_read.content_hash())
        return load(spec) if stored is None else _fetch(stored)


@lru_cache(maxsize=2)  # a process that trains one trial after another keeps its decoding processes
def _fetch(stored: "ray.ObjectRef") -> DataSet:
    data: DataSet = ray.get(stored)
    return data
