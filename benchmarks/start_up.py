"""How soon there is something to see: the import of the package, `--help`, `--dry-run` of the default study.

The import is held against that of pydantic and yaml, each in a Python of its own; the start of Python is in both.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from measuring.alternating import alternate, machine, seconds_of

ROOT = Path(__file__).resolve().parent.parent
SIDES = {
    "python -c pass": ["-c", "pass"],
    "import dks_study": ["-c", "import dks_study"],
    "import pydantic, yaml": ["-c", "import pydantic, yaml"],
    "--help": ["run_study.py", "--help"],
    "--dry-run": ["run_study.py", "--space", "dense_vs_oneway.yaml", "--dry-run"],
}
TARGET_S = {"--help": 0.3, "--dry-run": 1.0}
RUNS = 10


def run(words: list[str]) -> None:
    """Run Python with `words` to its end."""
    subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def timed(words: list[str]) -> Callable[[], float]:
    """Return what measures one run, in seconds."""
    return lambda: seconds_of(lambda: run(words))


def main() -> None:
    """Measure and print."""
    print(machine())
    for name, values in alternate({name: timed(words) for name, words in SIDES.items()}, RUNS).items():
        low, middle, high = min(values), statistics.median(values), max(values)
        target = f"; target under {TARGET_S[name]}" if name in TARGET_S else ""
        print(f"{name}: median {middle:.3f} s ({low:.3f} to {high:.3f}, n {len(values)}){target}")


if __name__ == "__main__":
    main()
