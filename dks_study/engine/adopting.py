"""Taking finished trials of other studies before anything trains, and saying what was taken and what could not be."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import ray

from dks_study.spec.study import StudySpec
from dks_study.spec.trial import ResourceSpec
from dks_study.study.adoption import Adoption, donors_in
from dks_study.study.identity import environment
from dks_study.study.ledger import Record
from dks_study.study.storage import Files
from dks_study.training.compute import own_device


def adoption_for(
    study: StudySpec, files: Files, studies: Iterable[Path], data: str, note: Callable[[str], None]
) -> Adoption:
    """Return what takes trials for `study` from other `studies`; `data` is the fingerprint of its data."""
    donors = donors_in(studies, files.folder, note)
    there = _environment_of_trials(study.trial.resources) if donors else {}
    return Adoption(files, donors, data, there, checkpoints=study.keep == "all")


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


def _environment_of_trials(resources: ResourceSpec) -> Mapping[str, str]:
    """Return what a process computes with that the cluster gives to a trial."""
    ask = ray.remote(lambda: environment(own_device(resources)))
    asked = ask.options(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker)
    found: Mapping[str, str] = ray.get(asked.remote())
    return found
