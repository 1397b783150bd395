"""The process that keeps the page of a running study fresh: `python -m dks_study.watch.live.drawing FOLDER`.

It is told on its standard input where the study has its home, and ends when that input does: with the study, however
that ends. It reads files alone, holds nothing that anybody waits for, and lets everything else run first.
"""

import os
import select
import sys
import time
from pathlib import Path
from typing import TextIO

from dks_study.spec.base import Problem
from dks_study.study.ledger import write_whole
from dks_study.watch.live.page import filed
from dks_study.watch.live.reading import folder_at
from dks_study.watch.live.snapshot import snapshot

PAGE = "report.html"
EVERY_S = 30.0
MOST_OF_A_CPU = 0.01  # that drawing may take: a very large study is drawn less often
ATTEMPTS = 3  # files of a study that runs come and go


def main(folder: Path, told: TextIO) -> int:
    """Draw the page in `folder` until `told` ends; return 0, or 1 with one line if it cannot be drawn."""
    os.nice(19)
    home, failed = told.readline().strip(), 0
    while True:
        began_s = time.process_time()  # on a busy machine it waits for most of the time
        try:
            draw(folder, home)
            failed = 0
        except (OSError, ValueError, Problem) as error:
            failed += 1
            if failed == ATTEMPTS:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                return 1
        took_s = time.process_time() - began_s
        if select.select([told], [], [], max(EVERY_S, took_s / MOST_OF_A_CPU))[0]:
            return 0


def draw(folder: Path, home: str) -> None:
    """Draw the page of the study in `folder`, whose trials write into `home` if that is not ""."""
    text = filed(snapshot(folder_at(home) if home else folder))
    write_whole(folder / PAGE, text)
    if home:
        from dks_study.study.home import Home

        Home(home).push(folder, PAGE)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.stdin))
