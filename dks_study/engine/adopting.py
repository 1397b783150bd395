"""What takes finished trials of other studies, for trials as the cluster would train them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import ray

from dks_study.spec.study import StudySpec
from dks_study.spec.trial import ResourceSpec
from dks_study.study.adoption import Adoption
from dks_study.study.donors import donors_in, studies_in
from dks_study.study.identity import environment
from dks_study.study.storage import Files
from dks_study.training.compute import own_device


def adoption_for(
    study: StudySpec, files: Files, studies: Iterable[Path], data: str, note: Callable[[str], None]
) -> Adoption:
    """Return what takes trials for `study` from other `studies`; `data` is the fingerprint of its data.

    Those beside it are looked at in any case: their results have been seen.
    """
    asked = [path.resolve() for path in studies]
    donors = donors_in(asked, files.folder, note)
    beside = [path for path in studies_in(files.folder.resolve().parent) if path not in asked]
    seen = donors_in(beside, files.folder, lambda text: None)  # nothing is taken from them
    there = _environment_of_trials(study.trial.resources) if donors else {}
    kept = {"checkpoints": study.keep == "all", "predictions": study.keep_predictions != "none"}
    return Adoption(study, files, donors, seen, data, there, **kept)


def _environment_of_trials(resources: ResourceSpec) -> Mapping[str, str]:
    """Return what a process computes with that the cluster gives to a trial."""
    ask = ray.remote(lambda: environment(own_device(resources)))
    asked = ask.options(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker)
    found: Mapping[str, str] = ray.get(asked.remote())
    return found
