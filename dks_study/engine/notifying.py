"""`--notify COMMAND`: who is away learns that a study has ended, however it ended.

The process that waits runs it, as the one that works may be the one that was killed.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

from dks_study.spec.urls import shown

OPTION, MESSAGE = "--notify", "DKS_MESSAGE"
PATIENCE_S = 60
_MEANING = {
    0: "done",
    1: "done, but some trials have no result",
    2: "stopped: its last line says why",
    3: "stopped, as what it ran on was lost: run the same command again",
    4: "ended by the clock: run the same command again to go on",
    70: "stopped by an error of dks_study",
    130: "interrupted: run the same command again to go on",
}


def notify(words: Sequence[str], program: str, status: int, seconds: float) -> None:
    """Run what the command line `words` wants to be run, if it does, and say if that goes wrong.

    The shell runs it, with one line in the environment variable MESSAGE. Nothing that it does changes the exit status.

    Args:
        words: of the command line.
        program: what the command calls itself.
        status: with which it ended.
        seconds: how long it took.
    """
    for command in list(_wanted(words))[-1:]:
        hours, minutes = divmod(round(seconds / 60), 60)
        what = " ".join([program, *map(_without_keys, _without(words))])
        message = f"{what}: {_MEANING.get(status, 'ended')} (exit status {status}, after {hours} h {minutes:02} min)"
        failed = _run(command, " ".join(message.split()))
        if failed:
            print(f"Note: {OPTION}: {failed}: nobody was told.", file=sys.stderr, flush=True)


def _run(command: str, message: str) -> str:
    """Return what went wrong, or ""."""
    try:
        done = subprocess.run(
            command, shell=True, env={**os.environ, MESSAGE: message}, stdin=subprocess.DEVNULL, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return f"must end within {PATIENCE_S} s"
    except (OSError, ValueError) as error:
        return str(error)
    return f"ended with status {done.returncode}" if done.returncode else ""


def _wanted(words: Sequence[str]) -> Iterator[str]:
    for word, after in zip(words, [*words[1:], ""], strict=False):
        _, equals, value = word.partition("=")
        if _is_option(word) and (command := value if equals else after).strip():
            yield command


def _without(words: Sequence[str]) -> Iterator[str]:
    """Yield a command line without what is to be run: it may hold a token."""
    for before, word in zip(["", *words], words, strict=False):
        if not _is_option(word) and ("=" in before or not _is_option(before)):
            yield word


def _without_keys(word: str) -> str:
    """Return a word without what logs somebody in, if it is a URL or an option with one."""
    if "://" not in word:
        return word
    option, equals, url = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{shown(url)}"


def _is_option(word: str) -> bool:
    name = word.partition("=")[0]
    return len(name) >= len("--not") and OPTION.startswith(name)  # the command line takes options cut short
