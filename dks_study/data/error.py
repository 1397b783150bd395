"""The one error of everything that has to do with data."""


class DataError(ValueError):
    """The data cannot be had; the message is one line that names the key to change."""
