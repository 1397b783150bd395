"""The words and tables that show how far a study is."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from textwrap import shorten

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Column, Table
from rich.text import Text

from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Phase
from dks_study.study.ledger import Outcome
from dks_study.study.planner import PHASES
from dks_study.watch.progress import Tracker

_FRAME_LINES = 4  # of a table, besides its rows
_NUMBER = re.compile(r"(\d+/)?(at most )?[\d.]+")
_COUNTS_LINES = 2  # the summary, and what is said of the arms that are not shown


def picture(tracker: Tracker, console: Console) -> RenderableType:
    """Return every arm and the summary if the terminal has room for them.

    Else the summary comes first, then as many arms as fit, those that run before all others, and a count of the rest.
    """
    room = console.size.height - 1
    if len(tracker.planned) + _FRAME_LINES < room:
        everything = whole(tracker)
        if len(console.render_lines(everything, pad=False)) <= room:
            return everything
    return _most_of(tracker, room, console.size.width)


class WholeNumbers:
    """A table that cuts its titles before its numbers, and is left out where it would have to cut those, too."""

    def __init__(self, table: Table) -> None:
        """Show `table`; cells that are more than a number may be folded or cut."""
        self._table = table
        self._numbers = [
            [str(cell) for cell in column.cells if _NUMBER.fullmatch(str(cell))] for column in table.columns
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, or nothing."""
        if self._is_whole(console, options):
            yield self._table
            return
        for column, numbers in zip(self._table.columns, self._numbers, strict=True):
            if numbers:
                column.max_width, column.no_wrap, column.overflow = max(map(len, numbers)), True, "ellipsis"
            else:
                column.no_wrap = False  # it is these that give way
        if self._is_whole(console, options):
            yield self._table

    def _is_whole(self, console: Console, options: ConsoleOptions) -> bool:
        lines = console.render_lines(self._table, options, pad=False)
        shown = Counter(word for line in lines for word in "".join(part.text for part in line).split())
        return Counter(word for numbers in self._numbers for number in numbers for word in number.split()) <= shown


def whole(tracker: Tracker) -> RenderableType:
    """Return every arm and the summary."""
    return Group(arms_table(tracker, tracker.planned), Text(summary(tracker, tracker.seconds_left())))


def _most_of(tracker: Tracker, room: int, width: int) -> RenderableType:
    order = sorted(tracker.planned, key=lambda arm: _ORDER.index(_state(tracker, arm)))
    rows = max(0, room - _FRAME_LINES - _COUNTS_LINES)
    shown, rest = order[:rows], order[rows:]
    counts = {state: sum(_state(tracker, arm) == state for arm in rest) for state in _ORDER}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [summary(tracker, tracker.seconds_left()), f"and {len(rest)} more arms: {told}"]
    first, last = (Text(shorten(line, width, placeholder=" …"), no_wrap=True) for line in lines)
    return Group(first, *([arms_table(tracker, shown, one_line=True)] if shown else []), last)


_ORDER = ("running", "begun", "to come", "done")


def _state(tracker: Tracker, arm: str) -> str:
    ended = sum(tracker.done(arm, phase) for phase in PHASES)
    planned = sum(tracker.planned[arm].values())
    if any(cell.arm == arm for cell, _ in tracker.running.values()):
        return "running"
    return "done" if ended >= planned else "begun" if ended else "to come"


def arms_table(tracker: Tracker, arms: Iterable[str], *, one_line: bool = False) -> WholeNumbers:
    """Return a row for each of `arms`: what is done of what is planned, the best so far, what is running."""
    race: tuple[Phase, ...] = ("race",) if any(plan["race"] for plan in tracker.planned.values()) else ()
    titles = ("arm", "search", *race, "best val top-1 (%)", "confirmation", "running")
    rows = [_row(tracker, arm, race) for arm in arms]
    if not one_line:
        table = Table(*titles)
        for row in rows:
            table.add_row(*row)
        return WholeNumbers(table)
    # The name of an arm is the last to be cut.
    table = Table(*(Column(_cut(title), no_wrap=title == "arm") for title in titles))
    for row in rows:
        table.add_row(*map(_cut, row))
    return WholeNumbers(table)


def _cut(cell: str) -> Text:
    return Text(cell, no_wrap=True, overflow="ellipsis")


def _row(tracker: Tracker, arm: str, race: Sequence[Phase]) -> tuple[str, ...]:
    plan, most = tracker.planned[arm], "at most " if arm in tracker.open_fronts else ""
    best = tracker.best(arm)
    running = [
        f"{cell.id.removeprefix(arm + '-')} {done}/{cell.epochs}"
        for cell, done in tracker.running.values()
        if cell.arm == arm
    ]
    return (
        arm,
        f"{tracker.done(arm, 'search')}/{plan['search']}",
        *(f"{tracker.done(arm, phase)}/{plan[phase]}" for phase in race),
        "" if best is None else f"{best:.1f}",
        f"{tracker.done(arm, 'confirm')}/{most}{plan['confirm']}",
        ", ".join(running),
    )


def summary(tracker: Tracker, seconds: float | None) -> str:
    """Return one line about the whole study, which takes `seconds` more if that is known."""
    failed = f", {tracker.failed()} without a result" if tracker.failed() else ""
    most = "at most " if tracker.open_fronts else ""
    return f"{len(tracker.settled)} of {most}{tracker.trials} trials{failed}{left(seconds)}"


def running_line(tracker: Tracker, most: int = 8) -> str:
    """Return what runs, `most` trials of it, and the summary, in one line."""
    told = [f"{cell.id} {done}/{cell.epochs}" for cell, done in tracker.running.values()]
    more = [f"{len(told) - most} more"] if len(told) > most else []
    running = ", ".join(told[:most] + more) or "no trial yet"
    return f"running: {running}; {summary(tracker, tracker.seconds_left())}"


def ending(outcome: Outcome) -> str:
    """Return a few words on how a trial ended; its test errors stay sealed while the study runs."""
    if outcome.status != "complete":
        return f"{outcome.status}: {outcome.error}"
    return f"val top-1 {outcome.metrics[ACCURACY]:.2f} %"


def left(seconds: float | None) -> str:
    """Return what is left of a study, in words, if it is known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f", about {minutes} min {rest:02d} s left"
