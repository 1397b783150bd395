"""Ray's usage statistics are off here unless somebody turns them on; Tune counts callbacks for them all the same.

To do so it imports MLflow, wandb and Comet where they are installed, which takes a second or two before a study begins.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_USAGE = "ray.air._internal.usage"  # Tune imports it; not Ray's public interface: another version may lack it


@contextmanager
def callbacks_uncounted() -> Iterator[None]:
    """Let Tune count no callbacks."""
    usage: Any = sys.modules.get(_USAGE)
    count = getattr(usage, "tag_callbacks", None)
    if count is None:
        yield
        return
    usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        usage.tag_callbacks = count
