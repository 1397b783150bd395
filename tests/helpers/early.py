"""What tests need of other processes, begun when testing begins: it runs on another core until they ask for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Early:
    """Work in processes of its own.

    Attributes:
        fixture: that asks for its result; without a test that uses this nothing is begun.
        begin: starts the work, in an empty folder, and returns what waits for its end and gives the result.
    """

    fixture: str
    begin: Callable[[Path], Callable[[], Any]]
    _end: list[Callable[[], Any]] = field(default_factory=list)

    def start(self, folder):
        if not self._end:
            self._end.append(self.begin(folder))

    def result(self):
        return self._end[0]()


def begin_all(items, new_folder):
    """Begin what the selected tests ask for."""
    for module in dict.fromkeys(item.module for item in items):
        asked = {name for item in items if item.module is module for name in item.fixturenames}
        for early in vars(module).values():
            if isinstance(early, Early) and early.fixture in asked:
                early.start(new_folder("early"))
