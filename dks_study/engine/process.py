"""The process of a Tune trial: it trains one trial after another, and keeps the group of workers it has started.

An actor's repr, which the dashboard shows, is read once, when the actor starts: it is the study's. The title of the
process tells which trial it is at, such as `dense/confirm/seed3`.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
from ray.tune.trainable import Trainable, wrap_function

from dks_study.engine.group import GROUPS, Groups

NAME = "name"  # the key of a Tune trial's config that holds its name


def lasting_trials(train: Callable[[dict[str, Any]], None], study: str) -> type[Trainable]:
    """Return `train` as a Trainable that is reused from trial to trial.

    Args:
        train: a function for Tune, which takes a config that holds NAME; it gets one with GROUPS besides.
        study: its name.
    """

    class Trial(wrap_function(train)):  # type: ignore[misc]  # Ray has no types
        def __repr__(self) -> str:
            return self._groups.title

        def setup(self, config: dict[str, Any]) -> None:
            self._groups = Groups(study)
            super().setup(config)

        def _trainable_func(self, config: dict[str, Any]) -> object:
            return super()._trainable_func({**config, GROUPS: self._groups})

        def step(self) -> dict[str, Any]:
            # Ray sets the title anew for every call of a method; this one is called for every epoch.
            with suppress(AttributeError):  # not Ray's public interface: another version may lack it
                ray._raylet.setproctitle(f"ray::{self.config[NAME]}")
            result: dict[str, Any] = super().step()
            return result

        def cleanup(self) -> None:
            try:
                super().cleanup()
            finally:
                self._groups.end()

    Trial.__qualname__ = "Trial"  # the dashboard shows it
    return Trial
