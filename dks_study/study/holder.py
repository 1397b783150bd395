"""Who runs a study: what the lock in its results folder says, and holder.json where it has a home (`--storage`)."""

import json
import os
import re
import socket
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

LOCK, HOLDER = "lock", "holder.json"
BEAT_S = 30.0  # a holder on another machine that was not heard of for three of these is dead
_LOCKED = re.compile(r"process (?P<pid>\d+) on (?P<host>\S+) since (?P<since>[\d-]+ [\d:]+)")


def holder_of(folder: Path) -> tuple[str, bool | None]:
    """Return who ran the study in `folder` last, and whether that process is alive.

    None: it is on another machine, and this folder is not a home, where it would say every half a minute that it is.
    """
    if not (folder / LOCK).exists() and (folder / HOLDER).exists():
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return named(holder), is_alive(holder)
    text = (folder / LOCK).read_text(encoding="utf-8").strip() if (folder / LOCK).exists() else ""
    holder = _LOCKED.match(text)
    if holder is None:
        return text, False
    if holder["host"] != socket.gethostname():
        return text, None
    began = datetime.strptime(holder["since"], "%Y-%m-%d %H:%M:%S").timestamp()
    try:  # the number of a process that has ended may be another's by now
        return text, psutil.Process(int(holder["pid"])).create_time() < began + 1
    except psutil.NoSuchProcess:
        return text, False


def is_alive(holder: Mapping[str, Any]) -> bool:
    """Is another process alive that holds a home, as its holder.json says?"""
    if holder["host"] == socket.gethostname():
        return holder["process"] != os.getpid() and psutil.pid_exists(holder["process"])
    return bool(time.time() - holder["beat"] < 3 * BEAT_S)


def named(holder: Mapping[str, Any]) -> str:
    """Return the name of a process that holds a home."""
    return f"process {holder['process']} on {holder['host']}"
