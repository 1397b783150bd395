"""Join the Ray at an address and leave it again, many times, while a display frees references in a thread of its own.

The words are: the address; how many times; `after` or `before`, when the display ends: after Ray as in earlier versions
or before it as in a session; prints a line for each time that was survived.
"""

import gc
import io
import sys
from contextlib import ExitStack

import ray
from rich.console import Console
from studies import small_study

from dks_study.engine.joining import ending_ray, join
from dks_study.engine.ray_settings import use_ray_settings
from dks_study.watch import display
from dks_study.watch.progress import Tracker

REFERENCES = 20_000


class Knot:
    """An object that only the garbage collector can free."""


class Freeing(Tracker):
    """Frees references whenever it is drawn, at once or through the collector."""

    references = ()

    def seconds_left(self):
        for _ in range(200 if self.references else 0):
            knot = Knot()
            knot.itself, knot.reference = knot, self.references.pop() if self.references else None
        if self.references:
            gc.collect()


def session(address, display_ends):
    tracker = Freeing(small_study())
    shown = display.LiveDisplay(tracker, Console(file=io.StringIO(), force_terminal=True))
    with ExitStack() as contexts:
        if display_ends == "after":
            contexts.enter_context(shown)
        undo = contexts.enter_context(ending_ray())
        if display_ends == "before":
            contexts.enter_context(shown)
        join(address, lambda _: None, undo)
        name = ray.put(0).binary()
        tracker.references = [ray.ObjectRef(name) for _ in range(REFERENCES)]


if __name__ == "__main__":
    use_ray_settings(alone=False)
    display.REDRAWN_EVERY_S = 0.001
    for number in range(int(sys.argv[2])):
        session(sys.argv[1], sys.argv[3])
        print(number, flush=True)
