"""The install that gpu_check.py --install times: a fresh environment, and this project in it as its README says.

Only of what Python brings: it runs where nothing is installed yet.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_steps.running import MOST_CHARACTERS, ROOT, Done


def python_in(folder: Path) -> str:
    """Return the Python of the environment in `folder`."""
    return str(folder / "bin" / "python")


def commands(folder: Path) -> list[list[str]]:
    """Return what makes an environment in `folder` with the project in it."""
    pip = [python_in(folder), "-m", "pip", "install", "--disable-pip-version-check"]
    return [[sys.executable, "-m", "venv", str(folder)], [*pip, "-e", str(ROOT)]]


def install(every: Sequence[Sequence[str]], limit_s: float) -> Done:
    """Run commands for at most `limit_s` together, up to the first that fails; return how that ended."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out:
        state = "done"
        for words in every:
            left = max(1.0, limit_s - (time.monotonic() - started))
            try:
                status = subprocess.run(
                    words, stdout=out, stderr=subprocess.STDOUT, timeout=left, check=False
                ).returncode
            except subprocess.TimeoutExpired:
                state = f"**cut** after {limit_s:.0f} s"
                break
            if status:
                state = f"**failed** (status {status})"
                break
        out.seek(0)
        said = out.read().strip()[-MOST_CHARACTERS:]
    shown = f"`{' '.join(every[-1])}`" + ("" if state == "done" else f"\n\n```\n{said}\n```")
    return Done(state, time.monotonic() - started, shown)
