"""How long the command line takes to say something: `--help`, and `--dry-run` of the default study."""

import statistics
import subprocess
import sys
from pathlib import Path

from measuring.alternating import alternate, machine, seconds_of

ROOT = Path(__file__).resolve().parent.parent
SIDES = {"--help": (["--help"], 0.3), "--dry-run": (["--space", "dense_vs_oneway.yaml", "--dry-run"], 1.0)}  # target, s
RUNS = 10


def run(words: list[str]) -> None:
    """Run the command to its end."""
    subprocess.run([sys.executable, "run_study.py", *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    """Measure and print."""
    print(machine())
    sides = {name: lambda words=words: seconds_of(lambda: run(words)) for name, (words, _) in SIDES.items()}
    for name, values in alternate(sides, RUNS).items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(
            f"{name}: median {middle:.3f} s ({low:.3f} to {high:.3f}, n {len(values)}); target under {SIDES[name][1]}"
        )


if __name__ == "__main__":
    main()
