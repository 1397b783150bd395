"""Ray's usage statistics are off here; Tune counts callbacks for them all the same.

To do so it imports MLflow, wandb and Comet where they are installed, which takes a second or two before a study begins.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ray.air._internal import usage


@contextmanager
def callbacks_uncounted() -> Iterator[None]:
    """Let Tune count no callbacks."""
    before = getattr(usage, "tag_callbacks", None)  # not Ray's public interface: another version may lack it
    usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        usage.tag_callbacks = before
