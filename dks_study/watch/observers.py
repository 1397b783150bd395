"""One display and any number of others that are told the same; none of them can end a study."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

from dks_study.study.cell import Cell
from dks_study.study.ledger import Outcome
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
        self._shows = True

    def __enter__(self) -> Self:
        """Start showing."""
        self._show(lambda display: display.__enter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the recorders, then the display, which may still have to show what failed."""
        self.end()
        self._shows = True  # whatever happened, its thread must end
        self._show(lambda display: display.__exit__(kind, error, trace))

    def end(self) -> None:
        """End the recorders: what they write is whole, and they hear of nothing more."""
        self._tell(lambda recorder: recorder.end())
        self._recorders = []

    def note(self, text: str) -> None:
        """Show one line for good."""
        self._show(lambda display: display.note(text))

    def started(self, cell: Cell) -> None:
        """Pass on that `cell` begins to train."""
        self._show(lambda display: display.started(cell))
        self._tell(lambda recorder: recorder.started(cell))

    def epoch(self, cell: Cell, metrics: Metrics) -> None:
        """Pass on that `cell` has finished an epoch."""
        self._show(lambda display: display.epoch(cell, metrics))
        # The rest is Tune's, which also repeats a trial's config.
        own = {key: metrics[key] for key in metrics if key == "epoch" or ("/" in key and not key.startswith("config/"))}
        self._tell(lambda recorder: recorder.epoch(cell, own))

    def settled(self, cell: Cell, outcome: Outcome, *, earlier: bool = False) -> None:
        """Pass on that `cell` has ended."""
        self._show(lambda display: display.settled(cell, outcome, earlier=earlier))
        self._tell(lambda recorder: recorder.settled(cell, outcome, earlier=earlier))

    def _show(self, event: Callable[[Display], object]) -> None:
        """Let the display show it; one that cannot has nobody to tell, and is left alone from then on."""
        if self._shows:
            try:
                event(self._display)
            except Exception:  # a terminal that has gone, or an error in a drawing
                self._shows = False

    def _tell(self, event: Callable[[Recorder], None]) -> None:
        for recorder in tuple(self._recorders):
            try:
                event(recorder)
            except Exception as error:  # each has libraries and errors of its own
                self._recorders.remove(recorder)
                lines = str(error).strip().splitlines() or [type(error).__name__]
                self.note(f"{recorder.name}: {lines[0]} (left alone from here on; the study goes on)")
