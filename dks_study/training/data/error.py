"""The one error of everything that has to do with data."""

from dks_study.spec.base import Problem


class DataError(Problem, ValueError):
    """The data cannot be had; the message is one line that names the key to change."""
