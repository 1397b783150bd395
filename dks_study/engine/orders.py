"""What a Tune trial's process and the workers of its group tell each other, by way of an actor: it outlives no trial's
process, imports nothing, and knows as the only one whether the group has anything to do.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

IDLE_S = 10.0  # with nothing to do for so long, a group ends: another trial may wait for its CPUs

Metrics = Mapping[str, float]


class Orders:
    """Trials for the workers of one group, one after another, and what rank 0 reports of each."""

    def __init__(self, name: str, workers: int, idle_s: float = IDLE_S) -> None:
        """Begin without a trial; `name` is what the dashboard shows."""
        self._name, self._workers, self._idle_s = name, workers, idle_s
        self._number, self._order = 0, dict[str, Any]()
        self._at_it = 0  # workers that have not ended the latest trial
        self._heard = deque[Metrics | bool]()
        self._ended = False
        self._changed = asyncio.Condition()

    def __repr__(self) -> str:
        return self._name

    async def give(self, order: dict[str, Any]) -> bool:
        """Let all workers train what `order` describes; False: the group has ended."""
        if not self._ended:
            self._number, self._order, self._at_it = self._number + 1, order, self._workers
            self._heard.clear()
        await self._tell()
        return not self._ended

    async def take(self, after: int) -> tuple[int, dict[str, Any]] | None:
        """Wait for the order that comes after the one of number `after`, 0 at first; None: there is no more."""
        async with self._changed:
            while self._number == after and not self._ended:
                try:
                    await asyncio.wait_for(self._changed.wait(), self._idle_s)
                except TimeoutError:
                    self._ended = self._ended or not (self._at_it or self._number > after)
            self._changed.notify_all()
        return None if self._ended else (self._number, self._order)

    async def report(self, metrics: Metrics) -> None:
        """Say how an epoch went."""
        self._heard.append(metrics)
        await self._tell()

    async def done(self) -> None:
        """Say, as one of the workers, that the trial has ended."""
        self._at_it -= 1
        if not self._at_it:
            self._heard.append(True)
        await self._tell()

    async def hear(self) -> Metrics | bool:
        """Wait for what is said: an epoch's metrics; True: all workers have ended the trial; False: the group has."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._heard or self._ended)
        return self._heard.popleft() if self._heard else False

    async def end(self) -> None:
        """Let the group end, or know that it has."""
        self._ended = True
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
