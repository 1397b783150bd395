"""Command lines whose mistakes are told in one line, as all others are."""

import argparse
from typing import NoReturn

from dks_study.spec.yamldoc import SpecError


class OptionParser(argparse.ArgumentParser):
    """An argument parser that raises what is wrong, instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise the one line.

        Raises:
            SpecError: always.
        """
        raise SpecError(message.removeprefix("argument "))
