"""`--check-data`: what the data of a study hold, printed for people; nothing is started."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table
from rich.text import Text

from dks_study.spec.study import StudySpec, arm_run
from dks_study.training.arm_checks import check_batches
from dks_study.training.data import DataError, load
from dks_study.training.data.checking import Found
from dks_study.training.data.examining import Examination, examine

MOST_LINES, TOLD_EVERY_S = 20, 10.0


def check_data(study: StudySpec, console: Console) -> None:
    """Decode all images of the study's data set, print what they are, and load them as every arm would.

    Raises:
        DataError: what the study would be refused for.
    """
    runs = [arm_run(study, arm, {}) for arm in study.arms]
    specs = [run.data for run in runs]
    _say(console, f"{specs[0].name} {specs[0].root or ''}".strip())
    with _progress(console) as told:
        examination = examine(specs[0], told)
    _print(examination, console)
    if examination.complaints:
        rest = len(examination.complaints) - 1
        raise DataError(examination.complaints[0] + (f", and {rest:,} more are of no use" if rest else ""))
    for run in runs:
        check_batches(run, load(run.data))
    _say(console, "Nothing would be refused.")


def _print(examination: Examination, console: Console) -> None:
    found = examination.found
    console.print(_counts(found))
    _say(console, "Modes: " + ", ".join(f"{mode} ({count:,})" for mode, count in examination.modes.items()))
    sizes = sorted(examination.sizes.items(), key=lambda size: -size[1])
    shown = [f"{width} x {height} ({count:,})" for (width, height), count in sizes[:MOST_LINES]]
    _say(console, f"Sizes (width x height): {', '.join(shown)}{_more(len(sizes))}")
    if found.near_empty:
        _say(
            console, f"Classes of few images: {', '.join(found.near_empty[:MOST_LINES])}{_more(len(found.near_empty))}"
        )
    _say(console, str(found.copies))
    _list(console, [" = ".join(group) for group in found.copies.groups])
    for sentence in found.aside:
        _say(console, sentence)
    if examination.doubtful:
        _say(console, f"To look at, though read: {len(examination.doubtful):,} files")
        _list(console, examination.doubtful)
    if examination.complaints:
        _say(console, f"Of no use: {len(examination.complaints):,} files")
        _list(console, examination.complaints)


def _counts(found: Found) -> Table:
    """Return the images by class and split; of many classes the smallest."""
    rows = list(zip(found.class_names, *found.images.values(), strict=True))
    shown = rows if len(rows) <= MOST_LINES else sorted(rows, key=lambda row: int(row[1]))[:MOST_LINES]
    columns = (Column(split, justify="right") for split in found.images)
    table = Table("images", *columns, box=None, pad_edge=False)
    for name, *counts in shown:
        table.add_row(Text(name), *(f"{count:,}" for count in counts))
    if len(shown) < len(rows):
        table.add_row(f"and {len(rows) - len(shown):,} larger classes")
    table.add_row(f"{len(rows):,} classes", *(f"{sum(counts):,}" for counts in found.images.values()))
    return table


def _list(console: Console, lines: Sequence[str]) -> None:
    for line in lines[:MOST_LINES]:
        _say(console, f"  {line}")
    if len(lines) > MOST_LINES:
        _say(console, f"  and {len(lines) - MOST_LINES:,} more")


def _more(count: int) -> str:
    return f" and {count - MOST_LINES:,} more" if count > MOST_LINES else ""


def _say(console: Console, line: str) -> None:
    console.print(Text(line))


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show how far it is: a bar on a terminal, a line every ten seconds elsewhere."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task, told_s = bar.add_task("decoding", total=None), time.monotonic()

        def told(done: int, of: int) -> None:
            nonlocal told_s
            bar.update(task, completed=done, total=of)
            if bar.disable and time.monotonic() - told_s > TOLD_EVERY_S:
                told_s = time.monotonic()
                _say(console, f"decoded {done:,} of {of:,}")

        yield told
