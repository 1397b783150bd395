"""Run a study: python run_study.py --space dense_vs_oneway.yaml. The same as the command `dks-study`."""

import sys
from collections.abc import Sequence

from dks_study import __main__ as command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line in this process; return its exit status."""
    from dks_study import cli

    return cli.main(arguments, program="run_study")


if __name__ == "__main__":
    sys.exit(command.main("run_study"))
