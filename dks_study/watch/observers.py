"""One display and any number of others that are told the same; none of the others can end a study."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

from dks_study.study.ledger import Cell, Outcome
from dks_study.watch.progress import Display, Metrics, Observer


class Recorder(Observer, Protocol):
    """An observer that keeps what it is told somewhere, and may fail."""

    name: str  # as a note names it

    def end(self) -> None:
        """The session ends; trials may still be running."""


class Observed:
    """A display whose events reach recorders as well; one that fails is named in a note and left alone from then on."""

    def __init__(self, display: Display, recorders: Iterable[Recorder]) -> None:
        """Tell `display` first, then `recorders` in order."""
        self._display, self._recorders = display, list(recorders)

    def __enter__(self) -> Self:
        """Start showing."""
        self._display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the recorders, then the display, which may still have to show what failed."""
        self._tell(lambda recorder: recorder.end())
        self._display.__exit__(kind, error, trace)

    def note(self, text: str) -> None:
        """Show one line for good."""
        self._display.note(text)

    def started(self, cell: Cell) -> None:
        """Pass on that `cell` begins to train."""
        self._display.started(cell)
        self._tell(lambda recorder: recorder.started(cell))

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """Pass on that `cell` has finished an epoch."""
        self._display.epoch(cell, metrics)
        # The rest is Tune's, which also repeats a trial's config.
        own = {key: metrics[key] for key in metrics if key == "epoch" or ("/" in key and not key.startswith("config/"))}
        self._tell(lambda recorder: recorder.epoch(cell, own))

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """Pass on that `cell` has ended."""
        self._display.settled(cell, outcome, earlier=earlier)
        self._tell(lambda recorder: recorder.settled(cell, outcome, earlier=earlier))

    def _tell(self, event: Callable[[Recorder], None]) -> None:
        for recorder in tuple(self._recorders):
            try:
                event(recorder)
            except Exception as error:  # each has libraries and errors of its own
                self._recorders.remove(recorder)
                lines = str(error).strip().splitlines() or [type(error).__name__]
                self.note(f"{recorder.name}: {lines[0]} (left alone from here on; the study goes on)")
