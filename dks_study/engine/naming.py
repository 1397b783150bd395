"""Telling names such as `dense/confirm/seed3` for a trial's Ray actors and processes, as the dashboard shows them.

An actor's repr is read once, when the actor starts: a trial's name where every trial has actors of its own. Where one
actor trains one trial after another, the title of its process tells which.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
from ray.tune.trainable import Trainable, wrap_function

NAME = "name"  # the key of a Tune trial's config that holds its name


def named_trials(train: Callable[[dict[str, Any]], None], reused: str | None) -> type[Trainable]:
    """Return `train` as a Trainable whose process has its trial's name, and its actor too unless it is `reused`.

    Args:
        train: a function for Tune, which takes a config that holds NAME.
        reused: the name of an actor that trains one trial after another; None if each trial has its own.
    """

    class Trial(wrap_function(train)):  # type: ignore[misc]  # Ray has no types
        def __repr__(self) -> str:
            return reused or str(self.config[NAME])

        def step(self) -> dict[str, Any]:
            # Ray sets the title anew for every call of a method; this one is called for every epoch.
            with suppress(AttributeError):  # not Ray's public interface: another version may lack it
                ray._raylet.setproctitle(f"ray::{self.config[NAME]}")
            result: dict[str, Any] = super().step()
            return result

    Trial.__qualname__ = "Trial"  # the dashboard shows it
    return Trial
