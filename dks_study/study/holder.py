"""Who runs a study: what the lock in its results folder says, and holder.json where it has a home (`--storage`)."""

import json
import os
import re
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from dks_study.spec.base import Problem

LOCK, HOLDER = "lock", "holder.json"
BEAT_S = 30.0  # a holder on another machine that was not heard of for three of these is dead
_LOCKED = re.compile(
    r"process (?P<pid>\d+) on (?P<host>\S+) since (?P<since>[\d-]+ [\d:]+)(?: UTC\nidentity (?P<identity>\S+))?"
)


class HolderError(Problem, ValueError):
    """What says who runs a study is damaged; the message is one line."""


def lock_text() -> str:
    """Return what this process writes into a study's lock: a line for people, and one that tells it from all others."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}\nidentity {identity(os.getpid())}\n"


def identity(pid: int) -> str | None:
    """Return what a process alone has on its machine, whatever clocks and time zones say; None if it has ended.

    On Linux the machine's boot and when the process started, in ticks since then; elsewhere its start in seconds.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The second field is a name that may hold anything, so count from its end.
        state, *fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return None if state == "Z" else f"{boot}/{fields[18]}"
    except OSError:
        try:
            return f"{psutil.Process(pid).create_time():.2f}"
        except psutil.NoSuchProcess:
            return None


def holder_of(folder: Path) -> tuple[str, bool | None]:
    """Return who ran the study in `folder` last, and whether that process is alive.

    None: it is on another machine, and this folder is not a home, where it would say every half a minute that it is.

    Raises:
        HolderError: if the file that says so is damaged, or cannot be read.
    """
    path = folder / (HOLDER if not (folder / LOCK).exists() and (folder / HOLDER).exists() else LOCK)
    try:
        return _said_in(path)
    except OSError as error:
        raise HolderError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise HolderError(f"{path}: is damaged: delete it, if nobody runs this study") from error


def _said_in(path: Path) -> tuple[str, bool | None]:
    if path.name == HOLDER:
        known = json.loads(path.read_text(encoding="utf-8"))
        return named(known), is_alive(known)
    text = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    name, holder = text.partition("\n")[0], _LOCKED.match(text)
    if holder is None:
        return name, False
    if holder["host"] != socket.gethostname():
        return name, None
    if holder["identity"]:
        return name, identity(int(holder["pid"])) == holder["identity"]
    return name, _is_older(int(holder["pid"]), holder["since"])


def _is_older(pid: int, since: str) -> bool:
    """Was a process there at that local time, as a lock of earlier versions has it? Its number may be another's now."""
    try:
        return psutil.Process(pid).create_time() < datetime.strptime(since, "%Y-%m-%d %H:%M:%S").timestamp() + 1
    except psutil.NoSuchProcess:
        return False


def is_alive(holder: Mapping[str, Any]) -> bool:
    """Is another process alive that holds a home, as its holder.json says?"""
    if holder["host"] == socket.gethostname():
        same = holder.get("identity") in (None, identity(holder["process"]))
        return holder["process"] != os.getpid() and psutil.pid_exists(holder["process"]) and same
    return bool(time.time() - holder["beat"] < 3 * BEAT_S)


def named(holder: Mapping[str, Any]) -> str:
    """Return the name of a process that holds a home."""
    return f"process {holder['process']} on {holder['host']}"
