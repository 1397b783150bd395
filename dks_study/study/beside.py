"""Other studies that run on this machine at the same time: each leaves word, for this user, of where it is kept."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dks_study.study.holder import holder_of


@contextmanager
def announced(folder: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Note each other study that runs on this machine now, and leave word of the one in `folder` while it runs.

    Whether a study runs is asked of its own lock, so that word left by a killed one misleads nobody. Where no word can
    be left, nothing is said.
    """
    words, word = _words(), None
    with suppress(OSError):
        if words is not None:
            for other, holder in _others(words, folder):
                note(f"Note: {other} runs on this machine too ({holder}): both plan with all CPUs, and share them.")
            word = words / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
            word.write_text(str(folder.resolve()), encoding="utf-8")
    try:
        yield
    finally:
        if word is not None:
            with suppress(OSError):
                word.unlink(missing_ok=True)


def _words() -> Path | None:
    """Return the folder where studies of this user leave word, or None if it is not ours alone to write."""
    words = Path(tempfile.gettempdir()) / f"dks_study-{os.getuid()}"
    with suppress(OSError):
        words.mkdir(mode=0o700, exist_ok=True)
        found = words.lstat()
        if words.is_dir() and not words.is_symlink() and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return words
    return None


def _others(words: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the folder and the holder of each other study that runs; word of one that does not is taken away."""
    for word in sorted(words.iterdir()):
        other = Path(word.read_text(encoding="utf-8"))
        holder, alive = holder_of(other)
        if not alive:
            word.unlink(missing_ok=True)
        elif other != folder.resolve():
            yield other, holder
