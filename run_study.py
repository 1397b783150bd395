"""Run a study: python run_study.py --space dense_vs_oneway.yaml. The same as the command `dks-study`."""

import sys
from collections.abc import Sequence

from dks_study import cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    return cli.main(arguments, program="run_study")


if __name__ == "__main__":
    sys.exit(main())
